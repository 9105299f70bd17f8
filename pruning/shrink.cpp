#include "pruning/shrink.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "core/device/precision.h"
#include "core/device/stream.h"
#include "core/train/checkpoint.h"
#include "kernels/random.h"
#include "kernels/require.h"
#include "layers/architecture.h"
#include "layers/batch_norm.h"
#include "pruning/shrink_fold.h"

namespace espalier::pruning {
namespace {

constexpr std::uint64_t kProbeSeed = 11;

std::map<std::string, TensorCut> cuts_of(const ChannelGraph& graph, const Removal& removal) {
  std::map<std::string, TensorCut> cuts;
  for (const auto& named : graph.named) {
    TensorCut cut;
    for (const std::vector<int>& channels : named.channels) {
      std::vector<std::int64_t> stays;
      for (std::size_t i = 0; i < channels.size(); ++i) {
        if (removal.kept[std::size_t(channels[i])]) stays.push_back(std::int64_t(i));
      }
      cut.push_back(std::move(stays));
    }
    cuts.emplace(named.name, std::move(cut));
  }
  return cuts;
}

// The architecture with the widths that are left.
class Narrower {
 public:
  Narrower(Module& model, const ChannelGraph& graph, const Removal& removal)
      : graph_(graph),
        removal_(removal),
        description_(model.describe()),
        layers_(layers_by_name(description_, model.name())) {}

  Description run(const ModelTensors& tensors) {
    for (const Trace::Step& step : graph_.trace.steps) {
      if (is_channel_product(*step.function)) narrow_product(step, tensors);
      if (dynamic_cast<const BatchNormFunction*>(step.function.get())) narrow_norm(step);
    }
    check_all_narrowed();
    return description_;
  }

  std::int64_t width(int value) const {
    const auto& channels = graph_.of_value[std::size_t(value)];
    return std::count_if(channels.begin(), channels.end(), [&](int c) { return removal_.kept[std::size_t(c)]; });
  }

 private:
  Description* layer(const ChannelGraph::Named* tensor) {
    if (!tensor) return nullptr;
    const auto found = layers_.find(layer_of(tensor->name));
    if (found == layers_.end()) return nullptr;
    narrowed_.insert(found->first);
    return found->second;
  }

  void narrow_product(const Trace::Step& step, const ModelTensors& tensors) {
    const ChannelGraph::Named* const weight = graph_.named_input(step, 1);
    Description* const described = layer(weight);
    if (!described || graph_.of_value[std::size_t(step.inputs[0])].empty()) return;
    const bool dense = described->kind == "dense";
    auto& attributes = described->attributes;
    attributes[dense ? "in_features" : "channels"] = width(step.inputs[0]);
    attributes[dense ? "out_features" : "filters"] = width(step.output);
    if (!dense && channel_product(graph_, step).depthwise()) attributes["groups"] = width(step.inputs[0]);
    if (tensors.values.contains(layer_of(weight->name) + ".bias")) attributes["bias"] = std::int64_t(1);
  }

  void narrow_norm(const Trace::Step& step) {
    if (Description* const described = layer(graph_.named_input(step, 1))) {
      described->attributes["channels"] = width(step.output);
    }
  }

  void check_all_narrowed() const {
    for (const auto& named : graph_.named) {
      for (const std::vector<int>& channels : named.channels) {
        const bool whole =
            std::all_of(channels.begin(), channels.end(), [&](int c) { return removal_.kept[std::size_t(c)]; });
        require(whole || narrowed_.contains(layer_of(named.name)), "shrink: ", named.name,
                " must become smaller, but its layer is no Dense, Conv2d or BatchNorm of a described model");
      }
    }
  }

  const ChannelGraph& graph_;
  const Removal& removal_;
  Description description_;
  std::map<std::string, Description*> layers_;
  std::set<std::string> narrowed_;
};

void fill_model(Module& model, const ModelTensors& tensors, const std::map<std::string, TensorCut>& cuts) {
  const auto cut_of = [&](const std::string& name) {
    const auto found = cuts.find(name);
    return found == cuts.end() ? TensorCut{} : found->second;
  };
  for (Parameter* parameter : model.parameters()) {
    apply_cut(tensors.values.at(parameter->name), cut_of(parameter->name)).upload_to(parameter->value.value());
    const auto mask = tensors.masks.find(parameter->name);
    if (mask == tensors.masks.end()) continue;
    const StoredTensor keep = apply_cut(mask->second, cut_of(parameter->name));
    const bool whole =
        std::all_of(keep.bytes.begin(), keep.bytes.end(), [](std::byte one) { return one != std::byte(); });
    if (!whole) parameter->set_mask({Tensor::from_bytes(keep.shape, DType::u8, keep.bytes)});
  }
  for (Buffer* buffer : model.buffers()) {
    apply_cut(tensors.values.at(buffer->name), cut_of(buffer->name)).upload_to(buffer->value);
  }
}

std::int64_t parameters_of(Module& model) {
  std::int64_t count = 0;
  for (const Parameter* parameter : model.parameters()) count += parameter->size();
  return count;
}

void count_work(const ChannelGraph& graph, const Removal& removal, const Narrower& narrower, Shrunk& shrunk) {
  shrunk.macs_before = macs(graph, std::vector<bool>(graph.channels(), true));
  shrunk.macs_after = macs(graph, removal.kept);
  for (const Trace::Step& step : graph.trace.steps) {
    if (!is_channel_product(*step.function) || !graph.named_input(step, 1)) continue;
    const auto before = std::int64_t(graph.of_value[std::size_t(step.output)].size());
    shrunk.widths.push_back({layer_of(graph.named_input(step, 1)->name), before, narrower.width(step.output)});
  }
}

std::vector<float> run_in_evaluation(Module& model, const Tensor& images) {
  const PrecisionScope exact(Precision::fp32);
  const NoGradient no_gradient;
  const bool training = model.training();
  model.set_training(false);
  std::vector<float> outputs = model(Variable(images)).value().to_host();
  model.set_training(training);
  return outputs;
}

void compare_outputs(Module& masked, const Shape& input, Shrunk& shrunk) {
  const Tensor images = Tensor::empty(input);
  kernels::fill_uniform(images.size(), {.seed = kProbeSeed}, -1.0f, 1.0f, images.data<float>(), current_stream());
  const std::vector<float> expected = run_in_evaluation(masked, images),
                           found = run_in_evaluation(*shrunk.model, images);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double difference = std::abs(double(found[i]) - double(expected[i]));
    if (!(difference <= shrunk.largest_difference)) shrunk.largest_difference = difference;  // NaN is seen
    shrunk.largest_output = std::max(shrunk.largest_output, std::abs(double(expected[i])));
  }
}

}  // namespace

Shrunk shrink(Module& model, const Shape& input, const ShrinkOptions& options) {
  const ChannelGraph graph = channel_graph(model, input);
  const Removal removal = removable_channels(graph, options.granule);
  ModelTensors tensors = tensors_of(model);
  fold_constants(graph, removal, tensors);
  Narrower narrower(model, graph, removal);
  Shrunk shrunk;
  shrunk.model = build(narrower.run(tensors));
  shrunk.cuts = cuts_of(graph, removal);
  shrunk.model->set_name(model.name());
  shrunk.model->set_training(model.training());
  // A bias that is new is cut as its layer's weight is.
  for (const auto& [name, tensor] : tensors.values) {
    if (!shrunk.cuts.contains(name)) shrunk.cuts[name] = {shrunk.cuts.at(layer_of(name) + ".weight").at(0)};
  }
  fill_model(*shrunk.model, tensors, shrunk.cuts);
  shrunk.parameters_before = parameters_of(model);
  shrunk.parameters_after = parameters_of(*shrunk.model);
  count_work(graph, removal, narrower, shrunk);
  compare_outputs(model, input, shrunk);
  return shrunk;
}

void move_state(const Shrunk& shrunk, Optimizer& from, Optimizer& to) {
  require(from.kind() == to.kind(), "shrink: moments of ", std::string(from.kind()), " are nothing for ",
          std::string(to.kind()));
  std::map<std::string, const Buffer*> known;
  for (const Buffer* buffer : from.state()) known.emplace(buffer->name, buffer);
  for (Buffer* buffer : to.state()) {
    const auto found = known.find(buffer->name);
    if (found == known.end()) continue;
    const std::string parameter = buffer->name.substr(buffer->name.rfind('/') + 1);
    const auto cut = shrunk.cuts.find(parameter);
    require(cut != shrunk.cuts.end(), "shrink: ", buffer->name, " is of no parameter of the masked model");
    apply_cut(StoredTensor::of(found->second->value), cut->second).upload_to(buffer->value);
  }
  to.set_learning_rate(from.learning_rate());
  to.set_steps(from.steps());
  if (from.loss_scaler() && to.loss_scaler()) to.set_loss_scale(from.loss_scaler()->status());
}

Safetensors shrunk_checkpoint(const Safetensors& masked, const Shrunk& shrunk) {
  const std::vector<Parameter*> parameters = shrunk.model->parameters();
  Safetensors content = content_of({.parameters = parameters, .buffers = shrunk.model->buffers()});
  content.metadata = masked.metadata;
  content.metadata[note_key(kArchitectureNote)] = to_json(shrunk.model->describe());
  const std::string prefix = kOptimizerPrefix;
  std::set<std::string> roles;
  for (const auto& [name, tensor] : masked.tensors) {
    if (!name.starts_with(prefix)) continue;
    const std::size_t end = name.rfind('/');
    roles.insert(name.substr(0, end + 1));
    content.tensors[name] = apply_cut(tensor, shrunk.cuts.at(name.substr(end + 1)));
  }
  for (const Parameter* parameter : parameters) {
    for (const std::string& role : roles) {
      content.tensors.try_emplace(role + parameter->name, StoredTensor::of(Tensor::zeros(parameter->value.shape())));
    }
  }
  return content;
}

std::string to_string(const Shrunk& shrunk) {
  std::string table = fmt::format("{:<40} {:>8} {:>8}\n", "layer", "before", "after");
  for (const LayerWidth& width : shrunk.widths) {
    table += fmt::format("{:<40} {:>8} {:>8}\n", width.layer, width.before, width.after);
  }
  const auto left = [](std::int64_t after, std::int64_t before) { return 100.0 * double(after) / double(before); };
  table += fmt::format("{} of {} parameters left ({:.1f} %), {} of {} MACs ({:.1f} %), {} of {} bytes\n",
                       shrunk.parameters_after, shrunk.parameters_before,
                       left(shrunk.parameters_after, shrunk.parameters_before), shrunk.macs_after, shrunk.macs_before,
                       left(shrunk.macs_after, shrunk.macs_before), 4 * shrunk.parameters_after,
                       4 * shrunk.parameters_before);
  return table + fmt::format("outputs differ by {:.2g} at most, {:.2g} of the largest", shrunk.largest_difference,
                             shrunk.relative_difference());
}

std::string to_json(const Shrunk& shrunk) {
  nlohmann::json widths = nlohmann::json::array();
  for (const LayerWidth& width : shrunk.widths) {
    widths.push_back({{"layer", width.layer}, {"before", width.before}, {"after", width.after}});
  }
  return nlohmann::json{{"layers", widths},
                        {"parameters_before", shrunk.parameters_before},
                        {"parameters", shrunk.parameters_after},
                        {"macs_before", shrunk.macs_before},
                        {"macs", shrunk.macs_after},
                        {"bytes_before", 4 * shrunk.parameters_before},
                        {"bytes", 4 * shrunk.parameters_after},
                        {"largest_difference", shrunk.largest_difference},
                        {"relative_difference", shrunk.relative_difference()}}
      .dump(2);
}

}  // namespace espalier::pruning
