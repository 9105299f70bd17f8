// How much each layer minds: the model judged with one layer at a time pruned, over a grid of sparsities, all others as
// they are and nothing trained (Han et al. 2015, arXiv 1506.02626, section 3.4; Li et al. 2017, arXiv 1608.08710,
// section 4).
//   Sensitivity curves = sensitivity(model, [&](Module& m) { return evaluate(m, data.validation); });
//   fmt::print("{}\n", to_string(curves));
// The model keeps its weights. Costs layers x sparsities runs over what judges.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/train/metrics.h"
#include "layers/module.h"
#include "pruning/criterion.h"
#include "pruning/pattern.h"

namespace espalier::pruning {

// Where a probability lies, with 95 % confidence, of which `right` of `of` samples were seen (Wilson 1927): inside
// [0, 1] for any counts, unlike the interval of the normal distribution.
struct Interval {
  double low = 0, high = 1;
};
Interval wilson(std::int64_t right, std::int64_t of);

using Judge = std::function<Metrics(Module&)>;  // of samples that the model was not trained on

struct SensitivityPoint {
  double sparsity = 0;  // as asked for
  std::int64_t kept = 0;
  double loss = 0;
  std::int64_t right = 0, samples = 0;
  double accuracy() const { return double(right) / double(samples); }
  Interval interval() const { return wilson(right, samples); }
};

struct LayerSensitivity {
  std::string parameter;     // "dense_2.weight"; of channels their group: "dense_2"
  std::int64_t weights = 0;  // ... and how many channels it has
  std::vector<SensitivityPoint> points = {};
};

struct SensitivityOptions {
  Criterion criterion = magnitude();
  Pattern pattern = unstructured();
  std::vector<double> grid = {0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99};  // ascending, in [0, 1)
  std::vector<std::string> ignore = {};                                    // parameters that stay dense
};

struct Sensitivity {
  SensitivityPoint unpruned;
  std::vector<LayerSensitivity> layers;  // in the order of the model's parameters
  // What the loss rises by where `layer` loses i of kHarmSteps parts: interpolated, made to never fall, 0 at 0. For
  // rate_search.h.
  std::vector<double> harm(std::size_t layer) const;
  std::string to_json() const;
};

// Throws InvalidArgument where the grid cannot be, nothing is left to prune, or the judge has no samples or no finite
// loss.
Sensitivity sensitivity(Module& model, const Judge& judge, const SensitivityOptions& options = {});

// The same for whole channels: one group (channel_groups.h) at a time loses its least. `ignore` names groups; the
// criterion scores weights, and the pattern is channel_pattern().
Sensitivity channel_sensitivity(Module& model, const Shape& input, const Judge& judge,
                                const SensitivityOptions& options = {});

std::string to_string(const Sensitivity& sensitivity);  // a table for people: accuracy per layer and sparsity

}  // namespace espalier::pruning
