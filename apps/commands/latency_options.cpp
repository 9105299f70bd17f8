#include "apps/commands/latency_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/commands/channel_options.h"
#include "apps/commands/pattern_words.h"
#include "apps/commands/table.h"
#include "kernels/require.h"
#include "pruning/width_search.h"

namespace espalier::apps {
namespace {

Shape batch_of(const LatencyRequest& request, const Shape& image) {
  return {request.batch, image[0], image[1], image[2]};
}

pruning::LatencyGoal latency_goal(const LatencyRequest& request) {
  pruning::LatencyGoal goal;
  if (request.milliseconds > 0) goal.latency_us = 1e3 * request.milliseconds;
  if (request.speedup > 0) goal.speedup = request.speedup;
  return goal;
}

pruning::LatencyPlan find_rates(const LatencyRequest& request, Module& model, const Shape& image, PruningOptions& asked,
                                const Output& output) {
  const std::string fault = fault_of_rated_pattern(asked.pattern);
  require(fault.empty(), "prune: --latency-ms and --speedup find rates; ", fault);
  pruning::LatencyOptions options{
      .compile = compile_options(request.plan), .pattern = pattern_of(asked.pattern), .ignore = asked.ignore};
  options.compile.candidates = formats_for(asked.pattern);
  // To measure it, code would have to be compiled for each layer at each rate: minutes.
  if (options.compile.gpu) options.compile.candidates.push_back(pruning::compiled_conv2d());
  const double most = std::min(options.grid.back(), 1.0 - asked.min_density);
  std::erase_if(options.grid, [&](double sparsity) { return sparsity >= most && sparsity > 0; });
  if (most > 0) options.grid.push_back(most);
  const pruning::LatencyPlan found =
      pruning::prune_for_latency(model, batch_of(request, image), latency_goal(request), options);
  Table table({"weight", "share to remove"});
  for (std::size_t i = 0; i < found.rates.size(); ++i) {
    table.add({found.parameters[i], fmt::format("{:.1f} %", 100 * found.rates[i])});
  }
  say(output,
      fmt::format("{}\nat these rates a batch of {} takes {:.1f} µs, dense {:.1f} µs, asked for {:.1f} µs "
                  "(times: {})\n\n",
                  table.to_string(), request.batch, found.measured_us, found.dense_us, found.goal_us, found.timing));
  asked.target = {pruning::Target::Unit::sparsity, found.sparsity};
  asked.rates = found.rates;
  return found;
}

pruning::WidthPlan find_widths(const LatencyRequest& request, Module& model, const Shape& image, PruningOptions& asked,
                               const Output& output) {
  pruning::WidthOptions options{.granule = request.granule, .ignore = asked.ignore};
  const auto dense_only = options.compile.candidates;
  options.compile = compile_options(request.plan);
  options.compile.candidates = dense_only;
  options.min_density = std::max(options.min_density, asked.min_density);
  const pruning::WidthPlan found =
      pruning::widths_for_latency(model, batch_of(request, image), latency_goal(request), options);
  require(!found.widths.empty(), "prune: the dense network is as fast as asked; no channel has to fall");
  say(output, pruning::to_string(found) + "\n");
  asked.widths = found.widths;
  return found;
}

nlohmann::json json_of_widths(const pruning::WidthPlan& found, std::int64_t batch) {
  nlohmann::json steps = nlohmann::json::array();
  for (const pruning::WidthStep& step : found.steps) {
    steps.push_back({{"group", step.group}, {"width", step.width}, {"us", step.cost}, {"harm", step.harm}});
  }
  return {{"batch", batch},         {"goal_us", found.goal_us}, {"dense_us", found.dense_us}, {"us", found.us},
          {"widths", found.widths}, {"steps", steps},           {"timing", found.timing}};
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
  app.add_option("--width-granule", request.granule, "With whole channels: widths that are tried are multiples of it")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  add_gpu_option(app, request.plan);
}

LatencyAnswer find_for_latency(const LatencyRequest& request, Module& model, const Shape& image, PruningOptions& asked,
                               const Output& output) {
  if (!request.wanted()) return {};
  require(!asked.target_said, "prune: --latency-ms and --speedup find what falls; leave out --",
          std::string(to_string(asked.target.unit)), " ", asked.target.value);
  if (prunes_channels(asked)) return {{}, find_widths(request, model, image, asked, output)};
  return {find_rates(request, model, image, asked, output), {}};
}

nlohmann::json latency_report(const LatencyRequest& request, const LatencyAnswer& answer, Module& model,
                              const Shape& image, const Output& output) {
  if (answer.widths) return json_of_widths(*answer.widths, request.batch);
  if (!answer.rates) return nullptr;
  const pruning::LatencyPlan& found = *answer.rates;
  const pruning::CompileOptions options = compile_options_of_layers(request.plan, model);
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
