// Penalties that make weights, groups or norm scales exactly zero while a model trains: proximal steps after each
// update (kernels/proximal.h), enqueued, so that they are part of a captured training step.
//   const auto penalty = group_lasso(weights_of(model), 1e-4f, LassoGroups::filters);
//   Trainer trainer(..., {.after_update = [&] { penalty->apply(optimizer.rate_on_device()); }});
// What they make zero is not masked: prune or shrink() afterwards. Zeros of a mask stay.
#pragma once
#include <memory>
#include <vector>

#include "pruning/weights.h"

namespace espalier::pruning {

class Regularizer {
 public:
  virtual ~Regularizer() = default;
  // For an update that was made with *rate, in device memory; enqueues only. Parameters must outlive this.
  virtual void apply(const float* rate) const = 0;
};

// strength * sum |w|: Tibshirani 1996; as a proximal step Parikh and Boyd 2014, section 6.5.2.
std::unique_ptr<Regularizer> l1_penalty(std::vector<Parameter*> parameters, float strength);

// strength / 2 * sum w^2; makes small, never zero.
std::unique_ptr<Regularizer> l2_penalty(std::vector<Parameter*> parameters, float strength);

// strength * sum over groups of sqrt(n) |w_g|: Yuan and Lin 2006; for filters and channels Wen et al. 2016 (arXiv
// 1608.03665, section 3.2).
enum class LassoGroups { filters, channels };  // what makes a channel or neuron (axis 0), what reads one (axis 1)
std::unique_ptr<Regularizer> group_lasso(std::vector<Parameter*> parameters, float strength, LassoGroups groups);

// L1 on the scales of all batch norms: Network slimming, Liu et al. 2017 (arXiv 1708.06519, section 3), with true zeros
// instead of a threshold: shrink() takes the channels out. Throws InvalidArgument where the model has no batch norm.
std::unique_ptr<Regularizer> batch_norm_penalty(Module& model, float strength);

}  // namespace espalier::pruning
