#include "layers/classifier.h"

#include "kernels/require.h"
#include "layers/loss.h"

namespace espalier {
namespace {

Variable taught(Module& model, const ClassifierOptions& options, const Batch& batch, MetricsAccumulator& metrics) {
  Tensors logits;
  for (Module* teacher : options.teachers) {
    const NoGradient inference;
    if (teacher->training()) teacher->set_training(false);
    logits.push_back((*teacher)(batch.images).value());
  }
  return distillation_loss(model(batch.images), batch.labels, logits,
                           {.temperature = options.temperature, .weight = options.weight, .metrics = &metrics});
}

}  // namespace

Trainable classifier(Module& model, const ClassifierOptions& options) {
  require(options.teachers.empty() || options.label_smoothing == 0.0f,
          "classifier: teachers and smoothed labels; a teacher's opinion is smooth already: set label_smoothing to 0");
  const auto forward = [&model, options](const Batch& batch, MetricsAccumulator& metrics) {
    if (!model.training()) model.set_training(true);
    if (!options.teachers.empty()) return taught(model, options, batch, metrics);
    return softmax_cross_entropy(model(batch.images), batch.labels,
                                 {.label_smoothing = options.label_smoothing, .metrics = &metrics});
  };
  return {forward, model.parameters(), model.buffers()};
}

}  // namespace espalier
