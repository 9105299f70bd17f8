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

struct DistillationOptions {
  float temperature = 4.0f;               // above 0: both sides are softened by it
  float weight = 0.9f;                    // of the teachers in [0, 1]; the labels have the rest
  MetricsAccumulator* metrics = nullptr;  // as above; the loss is that of both parts
  Tensor rows = {};  // i32 [N]: which rows of the teachers' logits these are, where those are of more samples than N
};

// Learning from one teacher or the mean of up to 8 (kernels/distillation.h): mean over the batch of (1 - weight) *
// -log softmax(logits)[label] + weight * temperature^2 * the divergence from the softened teachers. Labels are i32, no
// gradient flows to the teachers' logits [N, classes], or [more, classes] with `rows`, none of which may lie outside.
Variable distillation_loss(const Variable& logits, const Tensor& labels, const Tensors& teachers,
                           const DistillationOptions& options = {});

// Mean over all elements of (prediction - target)^2; no gradient flows to the target.
Variable mean_squared_error(const Variable& prediction, const Tensor& target);

}  // namespace espalier
