// Prunes a model while it trains: criterion (what matters), pattern (what falls together), scope (who competes) and
// schedule (when) are independent parts.
//   Pruner pruner(model, {.criterion = magnitude(), .scope = Scope::global, .schedule = cubic({.to = 0.9})});
//   for (const Batch& batch : train) { train_step(batch);  pruner.step(); }
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "layers/module.h"
#include "pruning/criterion.h"
#include "pruning/pattern.h"
#include "pruning/report.h"
#include "pruning/schedule.h"

namespace espalier::pruning {

enum class Scope {
  local,   // each layer reaches the sparsity on its own
  global,  // all layers compete; needs the floor, or a whole layer may fall
};

struct PrunerOptions {
  Criterion criterion = magnitude();
  Pattern pattern = unstructured();
  Scope scope = Scope::global;
  Schedule schedule = {};                // none: only prune_to() prunes
  double min_density = 0.01;             // each layer keeps at least this fraction
  std::vector<std::string> ignore = {};  // names of parameters that stay dense: "dense_2.weight"
};

class Pruner {
 public:
  // Prunes the weights of products: parameters of two axes or more that `ignore` does not name. The model must outlive
  // the pruner. Throws InvalidArgument when nothing is left to prune or `ignore` names what is not there.
  Pruner(Module& model, PrunerOptions options);

  // To be called after each update. Prunes when the schedule says so; returns whether it did.
  bool step();
  // Prunes now, to this fraction of all prunable weights. What was pruned before stays pruned.
  void prune_to(double sparsity);

  int steps() const { return step_; }           // what a checkpoint must keep ...
  void set_steps(int steps) { step_ = steps; }  // ... and give back; masks are restored with their parameters
  const std::vector<Parameter*>& parameters() const { return parameters_; }
  // With the shape of one input batch, multiply-adds left are counted too.
  Report report(const std::optional<Shape>& input = std::nullopt) const;

 private:
  void set_masks(const std::vector<Parameter*>& parameters, double sparsity);
  Module& model_;
  PrunerOptions options_;
  std::vector<Parameter*> parameters_;
  int step_ = 0;
};

}  // namespace espalier::pruning
