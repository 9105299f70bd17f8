#include "apps/commands/pruning_setup.h"

#include <fmt/core.h>

#include <algorithm>

#include "apps/commands/channel_options.h"
#include "apps/commands/contradictions.h"
#include "apps/commands/pattern_words.h"
#include "apps/commands/pruning_rule.h"
#include "apps/commands/pruning_words.h"
#include "apps/commands/schedule_words.h"
#include "kernels/require.h"
#include "pruning/channel_permutation.h"
#include "pruning/latency.h"

namespace espalier::apps {

using namespace pruning;

PruningSetup::PruningSetup(Module& model, const data::ImageData& images, const PruningOptions& options,
                           std::int64_t steps, std::uint64_t seed, const Output& output)
    : model_(model), options_(settled(options)), scoring_(model, images, options, seed) {
  const Shape image = images.train.samples().dataset().image_shape();
  input_ = {1, image[0], image[1], image[2]};
  if (options.permute) {
    std::optional<PermutationOptions> permutation = permutation_for(options.pattern);
    require(permutation.has_value(), "prune: --permute reorders channels for --pattern N:M, not ", options.pattern);
    permutation->seed = seed;
    say(output, to_string(permute_for_n_of_m(model, input_, *permutation)));
  }
  at_once_ = steps < 2 || options.schedule == "before-training" || options.target.unit == Target::Unit::threshold;
  PrunerOptions made{
      .criterion = scoring_.criterion(),
      .min_density = options.min_density,
      .max_density = options.max_density,
      .ignore = options.ignore,
      .layer_sparsity = options.layers,
      .normalisation = normalisation_of(options.normalisation),
      .calibration = scoring_.calibration(),
      .movement = scoring_.movement(),
      .penalty = penalty(),
      .sparse_training = {.when = sparse_training_of(options.sparse_training), .batch = options.sparse_batch},
      .rule = in_words(options)};
  choose_pattern(made);
  if (options.rewind >= 0) made.rewind = Rewind{.to = int(options.rewind)};
  if (options.penalty_end < 1) made.penalty_end = int(options.penalty_end * double(steps));
  if (options.release > 0)
    made.release_at = std::min(int(options.release * double(steps)), std::max(0, int(steps) - 1));
  add_preparation(made, images, steps, seed);
  add_regrowth(made, steps, seed);
  made.after_prune = [this, &output] {
    say(output, fmt::format("pruned: {}; scoring {:.1f} ms, {} backward passes\n",
                            channels_ ? shrunk_figures(model_, input_) : figures(report()),
                            1e3 * pruner_->last_cost().seconds, pruner_->last_cost().backward_passes));
  };
  if (!at_once_) {
    made.full_sparsity = channels_.value_or(0);
    if (!channels_) {
      PrunerOptions look = made;  // where the target lies now
      made.full_sparsity = Pruner(model, std::move(look)).sparsity_for(options.target, input_);
    }
    made.schedule = schedule_of(options_, made.full_sparsity, int(steps));
  }
  pruner_.emplace(model, std::move(made));
}

void PruningSetup::choose_pattern(PrunerOptions& made) {
  if (prunes_channels(options_)) {
    channels_ = use_channels(options_, model_, input_, made);
    require_reachable(made, *channels_, options_, model_, input_);
    return;
  }
  require_agreement(options_, model_);
  if (!options_.rates.empty()) {
    made.pattern = at_rates(options_.rates, options_.target.value, pattern_of(options_.pattern));
    made.scope = Scope::global;  // which shows the pattern all weights at once
  } else {
    made.pattern = pattern_of(options_.pattern);
    made.scope = scope_of(options_.scope);
  }
}

void PruningSetup::prune_before_training() {
  if (at_once_ && channels_) return pruner_->prune_to(*channels_);
  if (at_once_) pruner_->prune_to(options_.target, input_);
}

std::shared_ptr<const Regularizer> PruningSetup::penalty() const {
  const float strength = float(options_.penalty_strength);
  if (options_.penalty == "none") return nullptr;
  if (options_.penalty == "batch-norm-scale") return batch_norm_penalty(model_, strength);
  const std::vector<Parameter*> weights = weights_of(model_, options_.ignore);
  if (options_.penalty == "l1") return l1_penalty(weights, strength);
  if (options_.penalty == "l2") return l2_penalty(weights, strength);
  return group_lasso(weights, strength,
                     options_.penalty == "group-lasso-filters" ? LassoGroups::filters : LassoGroups::channels);
}

// From begin to end of the schedule, in twenty rounds.
void PruningSetup::add_preparation(PrunerOptions& made, const data::ImageData& images, std::int64_t steps,
                                   std::uint64_t seed) const {
  if (options_.preparation == "none") return;
  require(options_.schedule == "one-shot", "prune: the preparation ", options_.preparation,
          " leads to one pruning; give the schedule one-shot, not ", options_.schedule);
  require(!at_once_, "prune: the preparation ", options_.preparation,
          " takes steps of fine-tuning, of which there are ", steps,
          ", before weights fall; give --epochs, and no threshold");
  const int begin = int(options_.begin * double(steps)), longest = int(steps) - 1 - begin;  // weights do fall
  const int length = std::clamp(int((options_.end - options_.begin) * double(steps)), 1, std::max(1, longest));
  const PreparationKind kind = preparation_of(options_.preparation);
  require(kind != PreparationKind::variational || options_.criterion == "magnitude",
          "prune: the preparation variational ranks weights by their signal to noise, not by the criterion ",
          options_.criterion, "; leave the criterion out");
  const bool gates = kind == PreparationKind::hard_concrete;
  made.preparation = PreparationOptions{.kind = kind,
                                        .strength = float(strength_of(options_)),
                                        .steps = length,
                                        .every = std::max(1, length / 20),
                                        .images = images.train.size(),
                                        .groups = gates ? gate_groups_of(options_.group) : GateGroups::elements,
                                        .rate = float(options_.preparation_rate),
                                        .seed = seed};
}

void PruningSetup::add_regrowth(PrunerOptions& made, std::int64_t steps, std::uint64_t seed) const {
  if (options_.regrowth == "none") return;
  const int every = int(options_.regrowth_every), end = std::max(1, int(0.75 * double(steps)));
  require_turns(options_, end);
  if (options_.regrowth == "splicing") {
    made.splicing = Splicing{.end = end, .every = every};
    return;
  }
  const bool by_gradient = options_.regrowth == "gradient";
  made.regrowth = Regrowth{.growth = by_gradient ? grow_by_gradient() : grow_at_random(seed),
                           .fraction = options_.regrowth_fraction,
                           .end = end,
                           .every = every,
                           .reads_gradients = by_gradient};
}

}  // namespace espalier::apps
