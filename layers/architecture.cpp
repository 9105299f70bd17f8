#include "layers/architecture.h"

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <type_traits>

#include "kernels/require.h"
#include "layers/layers.h"

namespace espalier {
namespace {

using nlohmann::json;
constexpr const char* kKind = "kind";
constexpr const char* kChildren = "children";

// Reads the attributes of one layer; finish() tells of those that nobody asked for.
class Reader {
 public:
  Reader(const Description& description, std::uint64_t& next_seed) : description_(description), next_seed_(next_seed) {}

  std::int64_t integer(const std::string& key) { return get<std::int64_t>(key, "an integer"); }
  bool flag(const std::string& key) { return integer(key) != 0; }
  float number(const std::string& key) { return float(get<double>(key, "a number")); }
  double exact_number(const std::string& key) { return get<double>(key, "a number"); }
  std::string word(const std::string& key) { return get<std::string>(key, "a word"); }
  std::uint64_t seed() { return next_seed_++; }  // a different one for each layer with weights
  std::size_t children() const { return description_.children.size(); }
  std::unique_ptr<Module> child(std::size_t index);
  std::vector<std::unique_ptr<Module>> all_children();

  void finish() const {
    for (const auto& [key, value] : description_.attributes) {
      require(asked_.contains(key), description_.kind, ": has an attribute \"", key,
              "\" that this layer does not know");
    }
    require(children_taken_ || children() == 0, description_.kind, ": has ", children(),
            " layers inside, but holds none");
  }

 private:
  template <class T>
  T get(const std::string& key, const char* what) {
    asked_.insert(key);
    const auto found = description_.attributes.find(key);
    require(found != description_.attributes.end(), description_.kind, ": lacks the attribute \"", key, "\"");
    if constexpr (std::is_same_v<T, double>) {  // 1 is a number too
      if (const auto* const whole = std::get_if<std::int64_t>(&found->second)) return double(*whole);
    }
    const T* const value = std::get_if<T>(&found->second);
    require(value != nullptr, description_.kind, ": the attribute \"", key, "\" must be ", what);
    return *value;
  }
  const Description& description_;
  std::uint64_t& next_seed_;
  std::set<std::string> asked_;
  bool children_taken_ = false;
};

using Made = std::unique_ptr<Module>;
using Builder = Made (*)(Reader&);

template <class Layer, class... Arguments>
Made make(Arguments&&... arguments) {
  return std::make_unique<Layer>(std::forward<Arguments>(arguments)...);
}

Made make_conv2d(Reader& of) {
  return make<Conv2d>(of.integer("channels"), of.integer("filters"),
                      Conv2dOptions{.kernel = of.integer("kernel"),
                                    .stride = of.integer("stride"),
                                    .padding = of.integer("padding"),
                                    .dilation = of.integer("dilation"),
                                    .groups = of.integer("groups"),
                                    .bias = of.flag("bias"),
                                    .seed = of.seed()});
}

Made make_dense(Reader& of) {
  return make<Dense>(of.integer("in_features"), of.integer("out_features"),
                     DenseOptions{.bias = of.flag("bias"), .seed = of.seed()});
}

Made make_avg_pool2d(Reader& of) {
  const std::string divisor = of.word("divisor");
  require(divisor == "window" || divisor == "inside", "avg_pool2d: divisor \"", divisor,
          "\"; it is \"window\" or \"inside\"");
  return make<AvgPool2d>(
      of.integer("window"),
      AvgPool2dOptions{.stride = of.integer("stride"),
                       .padding = of.integer("padding"),
                       .divisor = divisor == "window" ? AverageDivisor::window : AverageDivisor::inside});
}

template <class Norm>
Made make_batch_norm(Reader& of) {
  return make<Norm>(of.integer("channels"),
                    BatchNormOptions{.epsilon = of.number("epsilon"), .momentum = of.number("momentum")});
}

Made make_layer_norm(Reader& of) {
  std::vector<std::int64_t> extents;
  for (std::int64_t axis = 0; axis < of.integer("axes"); ++axis) {
    extents.push_back(of.integer("extent_" + std::to_string(axis)));
  }
  return make<LayerNorm>(Shape(std::move(extents)), of.number("epsilon"));
}

Made make_residual(Reader& of) {
  require(of.children() == 1 || of.children() == 2, "residual: has ", of.children(),
          " layers inside; it needs a body and may have a shortcut");
  Made body = of.child(0);
  return make<Residual>(std::move(body), of.children() == 2 ? of.child(1) : nullptr);
}

Made make_dropout(Reader& of) {
  return make<Dropout>(of.exact_number("probability"), std::uint64_t(of.integer("seed")));
}

Made make_max_pool2d(Reader& of) {
  return make<MaxPool2d>(of.integer("window"),
                         Pool2dOptions{.stride = of.integer("stride"), .padding = of.integer("padding")});
}

const std::map<std::string, Builder, std::less<>>& builders() {
  static const std::map<std::string, Builder, std::less<>> table{
      {"avg_pool2d", make_avg_pool2d},
      {"batch_norm1d", make_batch_norm<BatchNorm1d>},
      {"batch_norm2d", make_batch_norm<BatchNorm2d>},
      {"concat", [](Reader& of) { return make<Concat>(of.all_children()); }},
      {"conv2d", make_conv2d},
      {"dense", make_dense},
      {"dropout", make_dropout},
      {"flatten", [](Reader&) { return make<Flatten>(); }},
      {"gelu", [](Reader&) { return make<Gelu>(); }},
      {"layer_norm", make_layer_norm},
      {"leaky_relu", [](Reader& of) { return make<LeakyRelu>(of.number("slope")); }},
      {"max_pool2d", make_max_pool2d},
      {"relu", [](Reader&) { return make<Relu>(); }},
      {"residual", make_residual},
      {"sequential", [](Reader& of) { return make<Sequential>(of.all_children()); }},
      {"sigmoid", [](Reader&) { return make<Sigmoid>(); }},
      {"tanh", [](Reader&) { return make<Tanh>(); }},
  };
  return table;
}

Made build_with(const Description& description, std::uint64_t& next_seed) {
  const auto builder = builders().find(description.kind);
  require(builder != builders().end(), "there is no layer called \"", description.kind, "\"");
  Reader reader(description, next_seed);
  Made layer = builder->second(reader);
  reader.finish();
  return layer;
}

std::unique_ptr<Module> Reader::child(std::size_t index) {
  children_taken_ = true;
  return build_with(description_.children.at(index), next_seed_);
}

std::vector<std::unique_ptr<Module>> Reader::all_children() {
  children_taken_ = true;
  std::vector<Made> layers;
  for (const Description& inner : description_.children) layers.push_back(build_with(inner, next_seed_));
  return layers;
}

json to_json_value(const Description& description) {
  json value{{kKind, description.kind}};
  for (const auto& [key, attribute] : description.attributes) {
    std::visit([&](const auto& plain) { value[key] = plain; }, attribute);
  }
  for (const Description& inner : description.children) value[kChildren].push_back(to_json_value(inner));
  return value;
}

Description from_json_value(const json& value) {
  require(value.is_object() && value.contains(kKind) && value[kKind].is_string(), "architecture: ", value.dump(),
          " is no layer; it needs a \"kind\"");
  Description description{value[kKind].get<std::string>(), {}, {}};
  for (const auto& [key, entry] : value.items()) {
    if (key == kKind) continue;
    if (key == kChildren) {
      require(entry.is_array(), description.kind, ": \"children\" must be a list");
      for (const json& inner : entry) description.children.push_back(from_json_value(inner));
    } else if (entry.is_number_integer()) {
      description.attributes[key] = entry.get<std::int64_t>();
    } else if (entry.is_number()) {
      description.attributes[key] = entry.get<double>();
    } else {
      require(entry.is_string(), description.kind, ": the attribute \"", key, "\" is ", entry.dump(),
              "; it must be a number or a word");
      description.attributes[key] = entry.get<std::string>();
    }
  }
  return description;
}

void name_layers(Description& description, const std::string& name, std::map<std::string, Description*>& names) {
  names.emplace(name, &description);
  std::map<std::string, int> seen;
  for (Description& inner : description.children) {  // as Module::set_name() does
    const std::string place = inner.kind + "_" + std::to_string(++seen[inner.kind]);
    name_layers(inner, name.empty() ? place : name + "." + place, names);
  }
}

}  // namespace

std::map<std::string, Description*> layers_by_name(Description& description, const std::string& name) {
  std::map<std::string, Description*> names;
  name_layers(description, name, names);
  return names;
}

std::string to_json(const Description& description) { return to_json_value(description).dump(); }

Description description_from_json(std::string_view text) {
  const json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  require(!value.is_discarded(), "architecture: the text is not JSON");
  return from_json_value(value);
}

std::unique_ptr<Module> build(const Description& description, std::uint64_t seed) {
  std::uint64_t next_seed = seed << 16;  // layers of two models never share a seed
  std::unique_ptr<Module> model = build_with(description, next_seed);
  model->set_name("");
  return model;
}

}  // namespace espalier
