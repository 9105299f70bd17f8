#include "pruning/sensitivity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/device/stream.h"
#include "kernels/require.h"
#include "pruning/channel_pruning.h"
#include "pruning/pruned_for_now.h"
#include "pruning/rate_search.h"
#include "pruning/schedule.h"
#include "pruning/weights.h"

namespace espalier::pruning {
namespace {

SensitivityPoint judged(Module& model, const Judge& judge, double sparsity, std::int64_t kept) {
  const Metrics metrics = judge(model);
  require(metrics.samples() > 0, "sensitivity: there are no samples to judge on");
  require(std::isfinite(metrics.loss), "sensitivity: the loss is no number; has training diverged?");
  return {sparsity, kept, metrics.loss, metrics.correct(), metrics.samples()};
}

std::int64_t living(const Tensor& weight) {
  const std::vector<float> values = weight.to_host();
  return std::count_if(values.begin(), values.end(), [](float value) { return value != 0.0f; });
}

void require_possible(const SensitivityOptions& options) {
  require(!options.grid.empty() && std::is_sorted(options.grid.begin(), options.grid.end()),
          "sensitivity: the grid of sparsities must ascend");
  for (const double sparsity : options.grid) require_sparsity(sparsity);
}

nlohmann::json json_of(const SensitivityPoint& point) {
  const Interval interval = point.interval();
  return {{"sparsity", point.sparsity},     {"kept", point.kept},
          {"accuracy", point.accuracy()},   {"accuracy_low", interval.low},
          {"accuracy_high", interval.high}, {"right", point.right},
          {"samples", point.samples},       {"loss", point.loss}};
}

}  // namespace

Interval wilson(std::int64_t right, std::int64_t of) {
  require(0 <= right && right <= of, "wilson: ", right, " of ", of, " samples cannot be right");
  if (of == 0) return {};
  constexpr double z = 1.959963984540054;  // 95 % of a normal distribution
  const double n = double(of), p = double(right) / n, scale = 1 / (1 + z * z / n);
  const double middle = scale * (p + z * z / (2 * n));
  const double half = scale * z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  return {std::clamp(middle - half, 0.0, p), std::clamp(middle + half, p, 1.0)};
}

Sensitivity sensitivity(Module& model, const Judge& judge, const SensitivityOptions& options) {
  require_possible(options);
  const std::vector<Parameter*> parameters = weights_of(model, options.ignore);
  require(!parameters.empty(), "sensitivity: no weight of two axes or more is left to prune");
  std::int64_t all = 0;
  for (const Parameter* parameter : parameters) all += living(parameter->value.value());
  Sensitivity result{judged(model, judge, 0, all), {}};
  for (Parameter* parameter : parameters) {
    LayerSensitivity layer{parameter->name, parameter->size()};
    for (const double sparsity : options.grid) {
      const PrunedForNow pruned({parameter}, {&sparsity, 1}, options.criterion, options.pattern);
      layer.points.push_back(judged(model, judge, sparsity, living(parameter->value.value())));
    }
    result.layers.push_back(std::move(layer));
  }
  return result;
}

Sensitivity channel_sensitivity(Module& model, const Shape& input, const Judge& judge,
                                const SensitivityOptions& options) {
  require_possible(options);
  const std::vector<Parameter*> parameters = weights_of(model);
  Sensitivity result{judged(model, judge, 0, 0), {}};
  for (const ChannelGroup& group : groups_that_can_fall(model, input, options.ignore)) {
    const auto channels = std::int64_t(group.channels.size());
    LayerSensitivity layer{group.name, channels};
    for (const double sparsity : options.grid) {
      const auto kept = std::max<std::int64_t>(1, std::llround((1 - sparsity) * double(channels)));
      const PrunedForNow pruned(parameters, channel_masks(model, input, options.criterion, {{group.name, kept}}));
      layer.points.push_back(judged(model, judge, sparsity, kept));
    }
    result.unpruned.kept += channels;
    result.layers.push_back(std::move(layer));
  }
  return result;
}

std::vector<double> Sensitivity::harm(std::size_t layer) const {
  std::vector<double> grid{0.0}, rise{0.0};
  for (const SensitivityPoint& point : layers[layer].points) {
    if (point.sparsity == 0) continue;
    grid.push_back(point.sparsity);
    rise.push_back(std::max(rise.back(), point.loss - unpruned.loss));
  }
  std::vector<double> harm;
  for (int i = 0; i <= kHarmSteps; ++i) harm.push_back(interpolated(grid, rise, double(i) / kHarmSteps));
  return harm;
}

std::string Sensitivity::to_json() const {
  nlohmann::json json{{"unpruned", json_of(unpruned)}, {"layers", nlohmann::json::array()}};
  for (const LayerSensitivity& layer : layers) {
    nlohmann::json points = nlohmann::json::array();
    for (const SensitivityPoint& point : layer.points) points.push_back(json_of(point));
    json["layers"].push_back({{"parameter", layer.parameter}, {"weights", layer.weights}, {"points", points}});
  }
  return json.dump(2);
}

std::string to_string(const Sensitivity& sensitivity) {
  const Interval now = sensitivity.unpruned.interval();
  std::string table = fmt::format("accuracy {:.2f} % ({:.2f} to {:.2f}) on {} samples before\n{:<28} {:>9}",
                                  100 * sensitivity.unpruned.accuracy(), 100 * now.low, 100 * now.high,
                                  sensitivity.unpruned.samples, "accuracy without ...", "size");
  for (const SensitivityPoint& point : sensitivity.layers.front().points) {
    table += fmt::format(" {:>15}", fmt::format("{:g} %", 100 * point.sparsity));
  }
  for (const LayerSensitivity& layer : sensitivity.layers) {
    table += fmt::format("\n{:<28} {:>9}", layer.parameter, layer.weights);
    for (const SensitivityPoint& point : layer.points) {
      const Interval interval = point.interval();
      table += fmt::format(" {:>15}",
                           fmt::format("{:.2f} ± {:.2f}", 100 * point.accuracy(), 50 * (interval.high - interval.low)));
    }
  }
  return table;
}

}  // namespace espalier::pruning
