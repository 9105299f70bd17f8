#include "pruning/report.h"

#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/autograd/trace.h"
#include "layers/conv_pool.h"
#include "layers/dense.h"

namespace espalier::pruning {
namespace {

// How often each weight element is used for one image: the output pixels of a convolution, once in a dense layer.
std::map<const void*, std::int64_t> uses_per_image(Module& model, const Shape& input) {
  const bool training = model.training();
  model.set_training(false);
  const Trace traced = trace([&](const Variable& x) { return model(x); }, Tensor::zeros(input));
  model.set_training(training);
  std::map<const void*, std::int64_t> uses;
  for (const Trace::Step& step : traced.steps) {
    if (step.inputs.size() < 2) continue;
    const Tensor& x = traced.values[std::size_t(step.inputs[0])].tensor;
    const Tensor& weight = traced.values[std::size_t(step.inputs[1])].tensor;
    const auto* convolution = dynamic_cast<const Conv2dFunction*>(step.function.get());
    if (const auto* block = dynamic_cast<const ConvPool2dFunction*>(step.function.get())) {
      convolution = &block->convolution;
    }
    if (convolution) {
      const kernels::Conv2dShape shape = convolution->shape_for(x.shape(), weight.shape());
      uses[weight.raw()] += shape.out_height() * shape.out_width();
    }
    if (dynamic_cast<const DenseFunction*>(step.function.get())) uses[weight.raw()] += 1;
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
