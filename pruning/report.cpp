#include "pruning/report.h"

#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "pruning/product_steps.h"

namespace espalier::pruning {
namespace {

// How often each weight element is used for one image: the output pixels of a convolution, once in a dense layer.
std::map<const void*, std::int64_t> uses_per_image(Module& model, const Shape& input) {
  std::map<const void*, std::int64_t> uses;
  for (const ProductStep& product : product_steps(trace_inference(model, Tensor::zeros(input)))) {
    uses[product.weight.raw()] += product.uses;
  }
  return uses;
}

template <class Member>
std::int64_t sum(const std::vector<LayerReport>& layers, Member member) {
  return std::accumulate(layers.begin(), layers.end(), std::int64_t(0),
                         [&](std::int64_t total, const LayerReport& layer) { return total + layer.*member; });
}

}  // namespace

std::int64_t Report::total() const { return sum(layers, &LayerReport::total); }
std::int64_t Report::kept() const { return sum(layers, &LayerReport::kept); }
std::int64_t Report::macs() const { return sum(layers, &LayerReport::macs); }
std::int64_t Report::kept_macs() const { return sum(layers, &LayerReport::kept_macs); }

std::int64_t Report::sparse_bytes() const {
  std::int64_t bytes = 4 * kept_parameters;
  for (const LayerReport& layer : layers) bytes += layer.kept < layer.total ? (layer.total + 7) / 8 : 0;
  return bytes;
}

Report report(Module& model, const std::optional<Shape>& input) {
  Report result;
  const auto uses = input ? uses_per_image(model, *input) : std::map<const void*, std::int64_t>();
  for (const Parameter* parameter : model.parameters()) {
    LayerReport layer{.name = parameter->name, .shape = parameter->value.shape(), .total = parameter->size()};
    layer.kept = parameter->mask() ? parameter->mask()->kept() : layer.total;
    result.parameters += layer.total;
    result.kept_parameters += layer.kept;
    if (layer.shape.rank() < 2) continue;
    if (const auto used = uses.find(parameter->value.value().raw()); used != uses.end()) {
      layer.macs = used->second * layer.total;
      layer.kept_macs = used->second * layer.kept;
    }
    result.layers.push_back(layer);
  }
  return result;
}

std::string to_string(const Report& report) {
  const bool with_macs = report.macs() > 0;
  std::string table = fmt::format("{:<28} {:>12} {:>12} {:>10}", "weight", "kept", "total", "sparsity");
  table += with_macs ? fmt::format(" {:>12} {:>12}\n", "kept MACs", "MACs") : "\n";
  const auto line = [&](const std::string& name, std::int64_t kept, std::int64_t total, std::int64_t kept_macs,
                        std::int64_t macs) {
    table +=
        fmt::format("{:<28} {:>12} {:>12} {:>9.2f}%", name, kept, total, 100.0 * (1.0 - double(kept) / double(total)));
    table += with_macs ? fmt::format(" {:>12} {:>12}\n", kept_macs, macs) : "\n";
  };
  for (const LayerReport& layer : report.layers) line(layer.name, layer.kept, layer.total, layer.kept_macs, layer.macs);
  line("all weights", report.kept(), report.total(), report.kept_macs(), report.macs());
  table += fmt::format("{} of {} parameters kept; {} bytes dense, {} as kept values and masks", report.kept_parameters,
                       report.parameters, report.dense_bytes(), report.sparse_bytes());
  return table;
}

std::string figures(const Report& report) {
  const auto part = [](const char* name, std::int64_t kept, std::int64_t all) {
    return fmt::format("{} of {} {} ({:.1f} %)", kept, all, name, 100.0 * double(kept) / double(all));
  };
  std::string line = part("weights", report.kept(), report.total()) + ", " +
                     part("params", report.kept_parameters, report.parameters) + ", ";
  if (report.macs() > 0) line += part("MACs", report.kept_macs(), report.macs()) + ", ";
  return line + part("bytes", report.sparse_bytes(), report.dense_bytes());
}

std::string Report::to_json() const {
  nlohmann::json json{{"sparsity", sparsity()},
                      {"weights", total()},
                      {"weights_kept", kept()},
                      {"parameters", parameters},
                      {"parameters_kept", kept_parameters},
                      {"macs", macs()},
                      {"macs_kept", kept_macs()},
                      {"dense_bytes", dense_bytes()},
                      {"sparse_bytes", sparse_bytes()},
                      {"layers", nlohmann::json::array()}};
  for (const LayerReport& layer : layers) {
    json["layers"].push_back({{"name", layer.name},
                              {"shape", layer.shape.extents()},
                              {"total", layer.total},
                              {"kept", layer.kept},
                              {"sparsity", layer.sparsity()},
                              {"macs", layer.macs},
                              {"macs_kept", layer.kept_macs}});
  }
  return json.dump(2);
}

}  // namespace espalier::pruning
