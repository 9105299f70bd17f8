#include "apps/commands/pruning_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "apps/commands/pattern_words.h"

namespace espalier::apps {
namespace {

using Words = std::vector<std::string>;
using pruning::Target;

constexpr Target::Unit kUnits[] = {Target::Unit::sparsity, Target::Unit::params,   Target::Unit::macs,
                                   Target::Unit::bytes,    Target::Unit::channels, Target::Unit::threshold};

const char* meaning_of(Target::Unit unit) {
  switch (unit) {
    case Target::Unit::sparsity:
      return "Fraction of the weights to remove";
    case Target::Unit::params:
      return "Parameters to be left: a number, or up to 1 a fraction";
    case Target::Unit::macs:
      return "Multiply-adds per image to be left, in the same way";
    case Target::Unit::bytes:
      return "Bytes of kept values and masks to be left, in the same way";
    case Target::Unit::channels:
      return "Channels to be left, in the same way: whole channels fall, unless --pattern says how";
    default:
      return "Remove every weight whose score is below this, all at once";
  }
}

void add_target_options(CLI::App& app, PruningOptions& asked) {
  std::vector<CLI::Option*> options;
  for (const Target::Unit unit : kUnits) {
    const auto take = [&asked, unit](const double& value) { asked.target = {unit, value}, asked.target_said = true; };
    CLI::Option* option = app.add_option_function<double>("--" + std::string(to_string(unit)), take, meaning_of(unit));
    if (unit == Target::Unit::sparsity) option->check(CLI::Range(0.0, 0.9999))->default_str("0.9");
    for (CLI::Option* other : options) option->excludes(other);
    options.push_back(option);
  }
}

CLI::Option* add_choice(CLI::App& app, const char* name, std::string& value, const Words& words, const char* meaning) {
  return app.add_option(name, value, meaning)->check(CLI::IsMember(words))->capture_default_str();
}

// A word that may carry sizes.
void add_sized_choice(CLI::App& app, const char* name, std::string& value, const Words& words,
                      std::string (*fault)(const std::string& word), const char* meaning) {
  app.add_option(name, value, meaning)
      ->check(CLI::Validator([fault](std::string& word) { return fault(word); },
                             "{" + fmt::format("{}", fmt::join(words, ",")) + "}"))
      ->capture_default_str();
}

// What pulls weights towards zero before they fall.
void add_pulling_options(CLI::App& app, PruningOptions& options) {
  CLI::Option* const preparation = add_choice(
      app, "--preparation", options.preparation, preparations(),
      "What leads weights to zero before they fall; variational and hard-concrete by noise, even beyond the target");
  app.add_option("--strength", options.strength, "... and how strongly in the end: 10, with noise 1, unless given")
      ->needs(preparation)
      ->check(CLI::PositiveNumber);
  app.add_option("--preparation-rate", options.preparation_rate, "... and the learning rate of variances or gates")
      ->needs(preparation)
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  CLI::Option* const penalty = add_choice(app, "--penalty", options.penalty, penalties(),
                                          "What shrinks weights in every step, to true zeros but for l2");
  app.add_option("--penalty-strength", options.penalty_strength, "... and how strongly")
      ->needs(penalty)
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--penalty-end", options.penalty_end, "... and until which part of the steps")
      ->needs(penalty)
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
}

}  // namespace

void add_pruning_options(CLI::App& app, PruningOptions& options) {
  const auto choice = [&](const char* name, std::string& value, const Words& words, const char* meaning) {
    add_choice(app, name, value, words, meaning);
  };
  add_target_options(app, options);
  choice("--criterion", options.criterion, criteria(),
         "What makes a weight matter; ablation: what the loss is without a branch, with --pattern branch");
  add_sized_choice(app, "--group", options.group, groups(), fault_of_group,
                   "Which weights are scored together; letters stand for sizes, down and across: block-4, block-8x2");
  choice("--group-score", options.group_score, group_scores(), "... by the sum, mean or norm of their scores");
  choice("--normalisation", options.normalisation, normalisations(),
         "What scores are divided by before layers compete");
  add_sized_choice(
      app, "--pattern", options.pattern, patterns(), fault_of_pattern,
      "What falls together; letters stand for sizes: 2:4, 2:4-channels, 64:2:8, vector-16, vector-16-2:8, block-8, "
      "block-16x16-channels. "
      "coupled-channel: whole channels, wherever shared; branch: bodies of residual blocks");
  choice("--scope", options.scope, scopes(),
         "Who competes: all layers (global), each on its own (local), or by shares");
  choice("--prune-schedule", options.schedule, schedules(), "When: gradually while training on, or all at once");
  choice("--regrowth", options.regrowth, regrowths(), "What grows in the place of what falls, while training on");
  add_pulling_options(app, options);
  app.add_flag("--permute", options.permute,
               "Before --pattern N:M, reorder channels so that it keeps more of the weights");
  choice("--sparse-training", options.sparse_training, sparse_trainings(),
         "Layers with products train their kept weights alone: from 90 % pruned (on), or from where that was measured "
         "to be faster here (auto: weights may differ from run to run in their last bits)");
  app.add_option("--min-density", options.min_density, "Fraction of its weights that each layer keeps at least")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--max-density", options.max_density, "Fraction of its weights that each layer keeps at most")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  const auto take = [&options](const std::vector<std::string>& layers) {
    for (const std::string& layer : layers) {
      const std::size_t at = std::min(layer.rfind('='), layer.size());
      double own = 0;
      if (at == 0 || at == layer.size() || !CLI::detail::lexical_cast(layer.substr(at + 1), own)) {
        throw CLI::ValidationError("--layer", layer + " is no weight and its sparsity; give dense_3.weight=0.7");
      }
      options.layers[layer.substr(0, at)] = own;
    }
  };
  app.add_option_function<std::vector<std::string>>(
      "--layer", take, "Weights with a sparsity of their own: dense_1.weight=0.95 dense_3.weight=0.7 ...");
  app.add_option("--ignore", options.ignore, "Weights that stay dense: dense_2.weight ..., or groups of channels");
  app.add_option("--calibration-samples", options.calibration_samples, "Training images that data-driven criteria see")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
}

std::string goal_of(const Target& target) {
  if (target.unit == Target::Unit::sparsity) return fmt::format("remove {:g} % of the weights", 100 * target.value);
  if (target.unit == Target::Unit::threshold) return fmt::format("remove weights that score below {}", target.value);
  if (target.value > 1) return fmt::format("leave {:.0f} {}", target.value, to_string(target.unit));
  return fmt::format("leave {:g} % of the {}", 100 * target.value, to_string(target.unit));
}

}  // namespace espalier::apps
