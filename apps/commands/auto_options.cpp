#include "apps/commands/auto_options.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>

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
using pruning::Cost;
using pruning::Target;

constexpr const char* kModelledGpu = "a100";  // whose times are told where none is named and none are measured

// The target of the command line as a cost and what fraction of it is to be left.
void take_target(const PruningOptions& asked, const pruning::Report& now, AutoOptions& options) {
  if (!asked.target_said) return;
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
      throw InvalidArgument("prune --auto: it finds the rates; give no target, or --params, --macs or --bytes to meet");
  }
}

}  // namespace

void add_auto_options(CLI::App& app, AutoRequest& request) {
  auto* const wanted = app.add_flag("--auto", request.wanted, "Find every layer's rate under a bound on accuracy");
  const auto add = [&](CLI::Option* option) { return option->needs(wanted)->capture_default_str(); };
  add(app.add_option("--max-drop", request.max_drop, "... which is: so many points of a percent may be lost"))
      ->check(CLI::Range(0.0, 99.0));
  add(app.add_option("--minimise", request.minimise, "... of what as little as possible is to be left"))
      ->check(CLI::IsMember({"params", "macs", "bytes", "latency"}))
      ->excludes(app.get_option("--params"))  // a target says it, too
      ->excludes(app.get_option("--macs"))
      ->excludes(app.get_option("--bytes"));
  add(app.add_option("--trials", request.trials, "Candidates that are trained on and judged"))
      ->check(CLI::PositiveNumber);
  add(app.add_option("--trial-epochs", request.epochs, "Epochs that each candidate is trained on for"))
      ->check(CLI::NonNegativeNumber);
  add(app.add_option("--validation", request.validation, "Training images set aside to judge candidates"))
      ->check(CLI::PositiveNumber);
  add(app.add_flag("--measured", request.measured, "Measure times here instead of modelling those of --gpu"))
      ->excludes(app.get_option("--gpu"));
}

nlohmann::json choose_rates(const AutoRequest& request, const LatencyRequest& latency, Module& model,
                            const data::ImageData& images, const TrainingOptions& training, PruningOptions& asked,
                            const Output& output) {
  require(!latency.wanted(), "prune --auto: it finds the rates itself; give it without --latency-ms and --speedup");
  require(!prunes_channels(asked) && !own_sparsity(asked.pattern) && asked.criterion != "movement",
          "prune --auto: it weighs the rates of weights, and needs a pattern with rates and a criterion that needs no "
          "training");
  const Shape image = images.train.samples().dataset().image_shape();
  const Shape input{latency.batch, image[0], image[1], image[2]};
  AutoOptions options{.max_drop = request.max_drop / 100, .trials = request.trials, .min_density = asked.min_density};
  for (const Cost cost : {Cost::params, Cost::macs, Cost::bytes, Cost::latency}) {
    if (to_string(cost) == request.minimise) options.cost = cost;
  }
  take_target(asked, pruning::report(model, input), options);
  ScoringSetup scoring(model, images, asked, training.seed);
  if (scoring.calibration()) scoring.calibration()->run();
  options.sensitivity.criterion = scoring.criterion();
  options.sensitivity.pattern = pattern_of(asked.pattern);
  options.sensitivity.ignore = asked.ignore;
  PlanOptions times = latency.plan;
  if (times.gpu.empty() && !request.measured) times.gpu = kModelledGpu;
  options.latency.compile = compile_options(times);
  options.latency.compile.candidates = formats_for(asked.pattern);
  TrainingOptions moment = training;
  moment.epochs = request.epochs;
  const Output silent{.json = output.json, .quiet = true};
  const pruning::AutoPlan plan = pruning::auto_prune(
      model, input, [&](Module& tried) { return evaluate(tried, images.validation); },
      [&](Module& tried) {
        if (moment.epochs > 0) train(tried, images, moment, {}, {}, silent);
      },
      options);
  Table rates({"weight", "share to remove"});
  for (std::size_t i = 0; i < plan.parameters.size(); ++i) {
    rates.add({plan.parameters[i], fmt::format("{:.1f} %", 100 * plan.chosen().rates[i])});
  }
  say(output,
      fmt::format("{}\n\n{}\n\n{}\n", pruning::to_string(plan.curves), pruning::to_string(plan), rates.to_string()));
  asked.rates = plan.chosen().rates;
  asked.target = {Target::Unit::sparsity, plan.chosen().sparsity};
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
