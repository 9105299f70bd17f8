#include "layers/classifier.h"

#include "layers/loss.h"

namespace espalier {

Trainable classifier(Module& model, const ClassifierOptions& options) {
  const auto forward = [&model, options](const Batch& batch, MetricsAccumulator& metrics) {
    if (!model.training()) model.set_training(true);
    return softmax_cross_entropy(model(batch.images), batch.labels,
                                 {.label_smoothing = options.label_smoothing, .metrics = &metrics});
  };
  return {forward, model.parameters(), model.buffers()};
}

}  // namespace espalier
