// The search that auto_prune.h offers, whatever it is that falls: candidates of smaller and smaller budgets, each
// pruned, tuned, judged and measured, then taken back. What falls, and what that leaves, is told by whoever derives
// from it.
#pragma once
#include <optional>
#include <vector>

#include "pruning/auto_prune.h"

namespace espalier::pruning {

void require_possible(const AutoOptions& options);

class AutoSearch {
 public:
  // What it finds goes to `plan`, whose options it reads; all must outlive it.
  AutoSearch(Module& model, const Shape& input, const Judge& judge, const Tune& tune, AutoPlan& plan);
  virtual ~AutoSearch() = default;
  AutoSearch(const AutoSearch&) = delete;
  AutoSearch& operator=(const AutoSearch&) = delete;

  // Throws InvalidArgument, with the nearest candidate, where nothing that was tried keeps the bound.
  void run();

 protected:
  // The candidate of least harm that costs no more; none: there is none.
  virtual std::optional<AutoCandidate> propose(double budget) = 0;
  virtual double least_cost() = 0;  // with as much fallen as may fall
  virtual void set_masks(const AutoCandidate& candidate) = 0;
  virtual void measure(AutoCandidate& candidate) = 0;  // of the model as it is: all costs

  void begin();  // with plan.curves: the dense network's costs and accuracy

  Module& model_;
  Shape input_;
  AutoPlan& plan_;

 private:
  void meet_target();
  void bisect();
  const AutoCandidate& attempt(double fraction);
  void choose_best();

  const Judge& judge_;
  const Tune& tune_;
};

}  // namespace espalier::pruning
