#include "apps/commands/pruning_rule.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "apps/commands/channel_options.h"
#include "core/train/checkpoint.h"
#include "core/train/compressed_file.h"
#include "kernels/require.h"
#include "pruning/pruner.h"

namespace espalier::apps {
namespace {

nlohmann::json rule_of(const std::filesystem::path& checkpoint) {
  const std::string record = companion_record(read_tensors(checkpoint));
  if (record.empty()) return nullptr;
  try {
    return nlohmann::json::parse(pruning::Pruner::rule_of(record), nullptr, false);
  } catch (const InvalidArgument& error) {
    throw CheckpointError(fmt::format("{}: {}", checkpoint.string(), error.what()));
  }
}

}  // namespace

std::string in_words(const PruningOptions& options) {
  nlohmann::json rule{{"criterion", options.criterion},
                      {"group", options.group},
                      {"group_score", options.group_score},
                      {"normalisation", options.normalisation},
                      {"pattern", options.pattern},
                      {"scope", options.scope},
                      {"schedule", options.schedule},
                      {"regrowth", options.regrowth},
                      {"preparation", options.preparation},
                      {"strength", strength_of(options)},
                      {"penalty", options.penalty},
                      {"penalty_strength", options.penalty_strength},
                      {std::string(to_string(options.target.unit)), options.target.value},
                      {"min_density", options.min_density},
                      {"max_density", options.max_density},
                      {"ignore", options.ignore},
                      {"permute", options.permute},
                      {"layers", options.layers},
                      {"rewind", options.rewind},
                      {"begin", options.begin},
                      {"end", options.end}};
  if (options.schedule == "iterative") rule["fraction"] = options.fraction;
  if (options.release > 0) rule["release"] = options.release;
  if (options.regrowth != "none") {
    rule["regrowth_fraction"] = options.regrowth_fraction, rule["regrowth_every"] = options.regrowth_every;
  }
  if (!options.rates.empty()) rule["rates"] = options.rates;
  if (!options.widths.empty()) rule["widths"] = options.widths;
  if (options.penalty_end < 1) rule["penalty_end"] = options.penalty_end;
  if (has_noise(options.preparation)) rule["preparation_rate"] = options.preparation_rate;
  if (options.sparse_training != "off") rule["sparse_training"] = options.sparse_training;
  return rule.dump();
}

void take_found(const std::filesystem::path& checkpoint, PruningOptions& asked, const Output& output) {
  const nlohmann::json rule = rule_of(checkpoint);
  try {
    if (prunes_channels(asked)) {
      rule.at("widths").get_to(asked.widths);
    } else {
      rule.at("rates").get_to(asked.rates);
      asked.target = {pruning::Target::Unit::sparsity, rule.at("sparsity").get<double>()};
    }
  } catch (const nlohmann::json::exception&) {
    throw CheckpointError(fmt::format("{}: holds no {} that a search found; resume with the options of its own run",
                                      checkpoint.string(), prunes_channels(asked) ? "widths" : "rates"));
  }
  say(output, fmt::format("no search: what the run of {} found holds\n", checkpoint.string()));
}

}  // namespace espalier::apps
