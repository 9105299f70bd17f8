// Losses: one number on the device at the end of a model. Nothing here waits for the host, so a training step that
// computes them can be captured as a graph.
#pragma once
#include "core/autograd/variable.h"
#include "core/train/metrics.h"

namespace espalier {

struct LossOptions {
  float label_smoothing = 0.0f;           // in [0, 1]: the part of the target spread evenly over all classes
  MetricsAccumulator* metrics = nullptr;  // loss and predictions are added to it in the same launch; null: nowhere
};

// Mean over the batch of -log softmax(logits)[label]; logits [N, classes], labels [N] of type u8 or i32.
// A label outside [0, classes) makes the loss NaN.
Variable softmax_cross_entropy(const Variable& logits, const Tensor& labels, const LossOptions& options = {});

// Mean over all elements of (prediction - target)^2; no gradient flows to the target.
Variable mean_squared_error(const Variable& prediction, const Tensor& target);

}  // namespace espalier
