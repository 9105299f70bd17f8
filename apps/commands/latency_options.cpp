#include "apps/commands/latency_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/commands/table.h"

namespace espalier::apps {
namespace {

Shape batch_of(const LatencyRequest& request, const Shape& image) {
  return {request.batch, image[0], image[1], image[2]};
}

}  // namespace

void add_latency_options(CLI::App& app, LatencyRequest& request) {
  CLI::Option* time = app.add_option("--latency-ms", request.milliseconds,
                                     "Prune each layer so that a batch takes no longer, in place of --sparsity");
  time->check(CLI::PositiveNumber);
  app.add_option("--speedup", request.speedup, "The same, as a multiple of the dense plan's speed")
      ->check(CLI::PositiveNumber)
      ->excludes(time);
  app.add_option("--latency-batch", request.batch, "Images of the batch whose time counts (default: as --batch)")
      ->check(CLI::PositiveNumber);
  add_gpu_option(app, request.plan);
}

pruning::LatencyPlan find_rates(const LatencyRequest& request, Module& model, const Shape& image,
                                const PruningOptions& pruning, const Output& output) {
  pruning::LatencyOptions options{.compile = compile_options(request.plan), .ignore = pruning.ignore};
  const double most = std::min(options.grid.back(), 1.0 - pruning.min_density);
  std::erase_if(options.grid, [&](double sparsity) { return sparsity >= most && sparsity > 0; });
  if (most > 0) options.grid.push_back(most);
  pruning::LatencyGoal goal;
  if (request.milliseconds > 0) goal.latency_us = 1e3 * request.milliseconds;
  if (request.speedup > 0) goal.speedup = request.speedup;
  const pruning::LatencyPlan found = pruning::prune_for_latency(model, batch_of(request, image), goal, options);
  Table table({"weight", "share to remove"});
  for (std::size_t i = 0; i < found.rates.size(); ++i) {
    table.add({found.parameters[i], fmt::format("{:.1f} %", 100 * found.rates[i])});
  }
  say(output,
      fmt::format("{}\nat these rates a batch of {} takes {:.1f} µs, dense {:.1f} µs, asked for {:.1f} µs "
                  "(times: {})\n\n",
                  table.to_string(), request.batch, found.measured_us, found.dense_us, found.goal_us, found.timing));
  return found;
}

nlohmann::json latency_report(const LatencyRequest& request, const pruning::LatencyPlan& found, Module& model,
                              const Shape& image, const Output& output) {
  const pruning::CompileOptions options = compile_options(request.plan);
  const double us = pruning::network_us(pruning::compile(model, batch_of(request, image), options), options);
  say(output, fmt::format("pruned, a batch of {} takes {:.1f} µs, {:.2f}x of dense; asked for {:.1f} µs (times: {})\n",
                          request.batch, us, found.dense_us / us, found.goal_us, found.timing));
  nlohmann::json rates = nlohmann::json::object();
  for (std::size_t i = 0; i < found.rates.size(); ++i) rates[found.parameters[i]] = found.rates[i];
  return {{"batch", request.batch},
          {"goal_us", found.goal_us},
          {"dense_us", found.dense_us},
          {"predicted_us", found.predicted_us},
          {"us_before_training", found.measured_us},
          {"us", us},
          {"rates", rates},
          {"timing", found.timing}};
}

}  // namespace espalier::apps
