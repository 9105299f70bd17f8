// A trial that leaves no trace: while it lives, weights are what is left of them at given rates. No masks are set.
#pragma once
#include <span>
#include <utility>
#include <vector>

#include "pruning/criterion.h"
#include "pruning/pattern.h"

namespace espalier::pruning {

class PrunedForNow {
 public:
  // One rate for each parameter; what a mask has pruned falls first.
  PrunedForNow(const std::vector<Parameter*>& parameters, std::span<const double> rates, const Criterion& criterion,
               const Pattern& pattern, double min_density = 0);
  // One mask for each parameter.
  PrunedForNow(const std::vector<Parameter*>& parameters, std::vector<Mask> masks);
  ~PrunedForNow();
  PrunedForNow(const PrunedForNow&) = delete;
  PrunedForNow& operator=(const PrunedForNow&) = delete;

 private:
  void leave(const Parameter& parameter, Mask mask);
  std::vector<std::pair<Tensor, Tensor>> saved_;
};

}  // namespace espalier::pruning
