// Prunes a model while it trains: criterion (what matters), pattern (what falls together), scope (who competes) and
// schedule (when) are independent parts.
//   Pruner pruner(model, {.criterion = magnitude(), .scope = Scope::global, .schedule = cubic({.to = 0.9})});
//   for (const Batch& batch : train) { train_step(batch);  pruner.step(); }
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/train/companion.h"
#include "layers/module.h"
#include "pruning/criterion.h"
#include "pruning/data_criteria.h"
#include "pruning/normalisation.h"
#include "pruning/pattern.h"
#include "pruning/preparation.h"
#include "pruning/rates.h"
#include "pruning/regrowth.h"
#include "pruning/regularizer.h"
#include "pruning/report.h"
#include "pruning/rewind.h"
#include "pruning/schedule.h"
#include "pruning/sparse_training.h"

namespace espalier::pruning {

enum class Scope {
  local,               // each layer reaches the sparsity on its own
  global,              // all layers compete; needs the floor, or a whole layer may fall
  erdos_renyi,         // each layer has its own sparsity, as rates.h allots it
  erdos_renyi_kernel,  // the same with the sides of convolution windows
};

struct PrunerOptions {
  Criterion criterion = magnitude();
  Pattern pattern = unstructured();
  Scope scope = Scope::global;
  Schedule schedule = {};                // none: only prune_to() prunes
  double min_density = 0.01;             // each layer keeps at least this fraction ...
  double max_density = 1.0;              // ... and at most this one
  std::vector<std::string> ignore = {};  // names of parameters that stay dense: "dense_2.weight"
  // Layers with a sparsity of their own; the others share the rest of the budget.
  std::map<std::string, double> layer_sparsity = {};
  // Of the last pruning: below it, layers of their own have the same part of theirs. 0: they reach it at the first.
  double full_sparsity = 0;
  ScoreNormalisation normalisation = ScoreNormalisation::none;  // before layers compete
  Calibration* calibration = nullptr;                           // run before each scoring
  Movement* movement = nullptr;                                 // observes each step
  std::optional<Regrowth> regrowth = {};
  std::optional<Splicing> splicing = {};
  std::optional<PreparationOptions> preparation = {};  // from a choice that the schedule makes to its masks
  std::shared_ptr<const Regularizer> penalty = {};     // part of each update; what it makes zero is not masked
  std::optional<int> penalty_end = {};                 // ... before this step, so that what is left may grow again
  SparseTrainingOptions sparse_training = {};          // steps that need the gradients of pruned weights stay dense
  std::optional<Rewind> rewind = {};                   // after each pruning of the schedule beyond rewind->to
  std::optional<int> release_at = {};                  // drops all masks at this step: dense-sparse-dense training
  std::string rule = {};                               // these options in words; a run only resumes under the same
  std::function<void()> after_prune = {};              // e.g. print figures; the masks are set
};

// What scoring costs, calibration included.
struct ScoringCost {
  std::int64_t scorings = 0, forward_passes = 0, backward_passes = 0;
  double seconds = 0;
  std::int64_t bytes = 0;  // held by the calibration's statistics
};

class Pruner : public Companion {
 public:
  // Prunes the weights of products: parameters of two axes or more that `ignore` does not name. The model must outlive
  // the pruner. Throws InvalidArgument when nothing is left to prune or a name is that of no parameter.
  Pruner(Module& model, PrunerOptions options);

  // To be called after each update. Prunes when the schedule says so, and regrows, splices, rewinds or releases where
  // that was asked for; returns whether the schedule pruned.
  bool step();
  // Prunes now, to this fraction of all prunable weights. What was pruned before stays pruned.
  void prune_to(double sparsity);
  // Prunes now, by no more than it takes to meet the target. `input`: shape of one image's batch, for multiply-adds.
  // Throws InvalidArgument, with what can be reached, where floors leave too much.
  void prune_to(const Target& target, const std::optional<Shape>& input = std::nullopt);
  // The sparsity at which prune_to(target) would arrive; changes nothing. Not for thresholds.
  double sparsity_for(const Target& target, const std::optional<Shape>& input = std::nullopt);

  // To be called as part of each update that was made with *rate, in device memory: what penalty and preparation add to
  // it. Enqueues only; nothing without them.
  void prepare(const float* rate) const;
  // The optimizer whose moments start anew when the pruner rewinds; before the first step.
  void attach(Optimizer& optimizer);
  // The rates of `steps` updates: back where the pruner rewinds, gone through anew once random weights are removed.
  learning_rate::Schedule rates(learning_rate::Schedule base, std::int64_t steps) const;

  int steps() const { return step_; }  // what a checkpoint must keep ...
  void set_steps(int steps);
  const std::vector<Parameter*>& parameters() const { return parameters_; }
  // With the shape of one input batch, multiply-adds left are counted too.
  Report report(const std::optional<Shape>& input = std::nullopt) const;
  std::vector<SparseTrainingChoice> sparse_training() const { return execution_.choices(); }
  // Where every step needs the gradients of pruned weights, why no layer trains sparse; else empty.
  std::string always_dense() const;
  const ScoringCost& cost() const { return cost_; }            // of all scorings so far
  const ScoringCost& last_cost() const { return last_cost_; }  // of the last

  // ... together with the rule and, where there are any, movement, shadows, preparation and the snapshot to rewind to.
  // Masks go with their parameters; random numbers are functions of seed, name and step.
  std::string record() const override;
  static std::string rule_of(const std::string& record);  // throws InvalidArgument where it is not a pruner's
  void check(const std::string& record) const override;
  void restore(const std::string& record) override;
  std::vector<Buffer*> state() override;

 private:
  std::vector<Tensor> score();
  std::vector<Mask> masks_near(const std::vector<Tensor>& weights);
  bool go_on_preparing();
  std::vector<Mask> masks_for(const std::vector<Tensor>& scores, double sparsity) const;
  std::vector<Mask> masks_above(const std::vector<Tensor>& scores, double threshold) const;
  std::vector<Mask> solve(const std::vector<Tensor>& scores, const Target& target, const std::optional<Shape>& input,
                          double* sparsity) const;
  void set_masks(std::vector<Mask> masks);
  void regrow_or_splice();
  void choose_execution();
  void choose_penalty() const;

  Module& model_;
  PrunerOptions options_;
  std::vector<Parameter*> parameters_;
  std::vector<double> own_sparsity_;  // of each parameter; below 0: none
  std::vector<Buffer> shadows_;
  std::optional<Snapshot> snapshot_;
  std::optional<Preparation> preparation_;
  double prepared_sparsity_ = 0;  // of the choice that is under way
  // Where the penalty ends, [1] each: 1 while it acts, and the rate that it takes.
  Tensor penalty_acts_, penalty_rate_;
  SparseExecution execution_;
  ScoringCost cost_, last_cost_;
  int step_ = 0;
};

}  // namespace espalier::pruning
