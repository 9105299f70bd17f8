// How well a classifier does on held-out samples. Judging it on its training samples does not compile.
#pragma once
#include <cstdint>

#include "core/data/split.h"
#include "core/train/metrics.h"
#include "layers/module.h"

namespace espalier {

struct EvaluateOptions {
  std::int64_t batch = 500;
};

// In inference mode, without a tape; the model's mode is put back afterwards.
Metrics evaluate(Module& model, const TestSplit& split, const EvaluateOptions& options = {});
Metrics evaluate(Module& model, const ValidationSplit& split, const EvaluateOptions& options = {});
Metrics evaluate(Module& model, const TrainSplit& split, const EvaluateOptions& options = {}) = delete;

}  // namespace espalier
