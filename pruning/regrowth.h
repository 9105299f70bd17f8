// Dynamic sparse training: connections that matter least fall and others grow in their place, so that the number of
// weights never changes while the network looks for its structure. The gradients of pruned weights, which training
// computes anyway, say where growth pays.
#pragma once
#include <cstdint>
#include <functional>

#include "core/train/parameter.h"

namespace espalier::pruning {

using Growth = std::function<Tensor(const Parameter&, int step)>;  // scores of candidates, higher = grow

Growth grow_by_gradient();                  // |g| of the last batch (RigL: Evci et al. 2020, arXiv 1911.11134)
Growth grow_at_random(std::uint64_t seed);  // SET: Mocanu et al. 2018, arXiv 1707.04780

// At each turn every layer drops `fraction` of its living weights, those of smallest magnitude, and grows as many,
// which start at zero. The fraction falls along half a cosine to zero at `end`. Needs masks: prune once first.
struct Regrowth {
  Growth growth = grow_by_gradient();
  double fraction = 0.3;
  int begin = 0, end = 1000, every = 100;
  bool reads_gradients = true;  // of pruned weights: the step before a turn computes them, whatever trains sparse
  bool due(int step) const { return step > begin && step < end && (step - begin) % every == 0; }
  double fraction_at(int step) const;
};
void require_possible(const Regrowth& regrowth);
void regrow(const Regrowth& regrowth, int step, Parameter& parameter);  // nothing without a mask

// Dynamic network surgery (Guo et al. 2016, arXiv 1608.04493): pruned weights go on training in a shadow, by plain
// gradient steps of `rate`, while the model sees zeros. At each turn the largest of all live, as many as before, those
// that live already at `favour` times their magnitude so that none flickers; what returns brings its shadow's value.
struct Splicing {
  float rate = 0.01f, favour = 1.1f;
  int begin = 0, end = 1000, every = 100;
  bool due(int step) const { return step > begin && step <= end && (step - begin) % every == 0; }
};
void require_possible(const Splicing& splicing);
void follow_in_shadow(const Splicing& splicing, const Parameter& parameter, const Tensor& shadow);  // after each update
void splice(const Splicing& splicing, Parameter& parameter, const Tensor& shadow);

}  // namespace espalier::pruning
