#include <fmt/core.h>

#include <algorithm>

#include "apps/commands/auto_options.h"
#include "apps/commands/channel_options.h"
#include "apps/commands/pattern_words.h"
#include "apps/commands/scoring_setup.h"
#include "apps/commands/stages.h"
#include "apps/commands/table.h"
#include "kernels/require.h"
#include "layers/evaluate.h"
#include "pruning/report.h"

namespace espalier::apps {
namespace {

using pruning::AutoOptions;
using pruning::AutoPlan;
using pruning::Cost;
using pruning::Target;

constexpr const char* kModelledGpu = "a100";  // whose times are told where none is named and none are measured

// The target of the command line as a cost and what fraction of it is to be left.
void take_target(const PruningOptions& asked, const pruning::Report& now, AutoOptions& options) {
  const auto fraction = [&](double dense) {
    return asked.target.value <= 1 ? asked.target.value : asked.target.value / dense;
  };
  switch (asked.target.unit) {
    case Target::Unit::params:
      options.cost = Cost::params, options.target = fraction(double(now.kept_parameters));
      return;
    case Target::Unit::macs:
      options.cost = Cost::macs, options.target = fraction(double(now.kept_macs()));
      return;
    case Target::Unit::bytes:
      options.cost = Cost::bytes, options.target = fraction(double(now.sparse_bytes()));
      return;
    default:
      throw InvalidArgument(
          "prune --auto: it finds the rates; give no target, or --params, --macs, --bytes, "
          "--latency-ms or --speedup to meet");
  }
}

// The same of a time.
void take_time(const LatencyRequest& latency, Module& model, const Shape& input, AutoOptions& options) {
  options.cost = Cost::latency;
  const pruning::CompileOptions& times = options.latency.compile;
  const auto dense_us = [&] { return pruning::network_us(pruning::compile(model, input, times), times); };
  options.target = latency.speedup > 0 ? 1 / latency.speedup : 1e3 * latency.milliseconds / dense_us();
}

AutoOptions options_of(const AutoRequest& request, const LatencyRequest& latency, Module& model, const Shape& input,
                       const PruningOptions& asked) {
  AutoOptions options{.max_drop = request.max_drop / 100, .trials = request.trials, .min_density = asked.min_density};
  for (const Cost cost : {Cost::params, Cost::macs, Cost::bytes, Cost::latency}) {
    if (to_string(cost) == request.minimise) options.cost = cost;
  }
  options.granule = latency.granule;
  options.sensitivity.ignore = asked.ignore;
  PlanOptions times = latency.plan;
  if (times.gpu.empty() && !request.measured) times.gpu = kModelledGpu;
  options.latency.compile = compile_options(times);
  if (prunes_channels(asked)) {
    options.min_density = std::max(pruning::WidthOptions().min_density, asked.min_density);
    options.latency.compile.candidates = pruning::WidthOptions().compile.candidates;
  } else {
    options.sensitivity.pattern = pattern_of(asked.pattern);
    options.latency.compile.candidates = formats_for(asked.pattern);
  }
  require(!asked.target_said || !latency.wanted(), "prune --auto: two targets; leave out --",
          std::string(to_string(asked.target.unit)), ", or --latency-ms and --speedup");
  if (asked.target_said) take_target(asked, pruning::report(model, input), options);
  if (latency.wanted()) take_time(latency, model, input, options);
  return options;
}

Table rates_of(const AutoPlan& plan) {
  Table table({"weight", "share to remove"});
  for (std::size_t i = 0; i < plan.parameters.size(); ++i) {
    table.add({plan.parameters[i], fmt::format("{:.1f} %", 100 * plan.chosen().rates[i])});
  }
  return table;
}

Table widths_of(const AutoPlan& plan) {
  Table table({"channels of", "left"});
  const auto& widths = plan.chosen().widths;
  for (const pruning::LayerSensitivity& group : plan.curves.layers) {
    const auto at = widths.find(group.parameter);
    table.add(
        {group.parameter, fmt::format("{} of {}", at == widths.end() ? group.weights : at->second, group.weights)});
  }
  return table;
}

void take_choice(const AutoPlan& plan, PruningOptions& asked, const Output& output) {
  const Table chosen = prunes_channels(asked) ? widths_of(plan) : rates_of(plan);
  say(output,
      fmt::format("{}\n\n{}\n\n{}\n", pruning::to_string(plan.curves), pruning::to_string(plan), chosen.to_string()));
  asked.rates = plan.chosen().rates, asked.widths = plan.chosen().widths;
  if (!prunes_channels(asked)) asked.target = {Target::Unit::sparsity, plan.chosen().sparsity};
  require(!prunes_channels(asked) || !asked.widths.empty(),
          "prune --auto: every channel is needed; no width that was tried keeps the bound");
}

}  // namespace

nlohmann::json choose_rates(const AutoRequest& request, const LatencyRequest& latency, Module& model,
                            const data::ImageData& images, const TrainingOptions& training, PruningOptions& asked,
                            const Output& output) {
  require(!own_sparsity(asked.pattern) && asked.criterion != "movement",
          "prune --auto: it needs a pattern with rates and a criterion that needs no training");
  require(!prunes_channels(asked) || asked.criterion != "batch-norm-scale",
          "prune --auto: the curves of whole channels are of their weights; give another criterion");
  const Shape image = images.train.samples().dataset().image_shape();
  const Shape input{latency.batch, image[0], image[1], image[2]};
  AutoOptions options = options_of(request, latency, model, input, asked);
  ScoringSetup scoring(model, images, asked, training.seed);
  if (scoring.calibration()) scoring.calibration()->run();
  options.sensitivity.criterion = scoring.criterion();
  TrainingOptions moment = training;
  moment.epochs = request.epochs;
  const Output silent{.json = output.json, .quiet = true};
  const auto find = prunes_channels(asked) ? pruning::auto_widths : pruning::auto_prune;
  const AutoPlan plan = find(
      model, input, [&](Module& tried) { return evaluate(tried, images.validation); },
      [&](Module& tried) {
        if (moment.epochs > 0) train(tried, images, moment, {}, {}, silent);
      },
      options);
  take_choice(plan, asked, output);
  return nlohmann::json::parse(plan.to_json());
}

nlohmann::json judge_choice(const AutoRequest& request, Module& model, const data::ImageData& images,
                            nlohmann::json report, const Output& output) {
  const double before = report.at("dense").at("accuracy"), after = evaluate(model, images.validation).accuracy();
  const bool within = after >= before - request.max_drop / 100 - 1e-12;
  report["final"] = {{"accuracy", after}, {"drop", before - after}, {"within", within}};
  say(output, fmt::format("on the {} images set aside: {:.2f} % before, {:.2f} % after; {} the bound of {:g} points\n",
                          images.validation.size(), 100 * before, 100 * after, within ? "within" : "NOT within",
                          request.max_drop));
  return report;
}

}  // namespace espalier::apps
