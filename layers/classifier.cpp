#include "layers/classifier.h"

#include "layers/loss.h"

namespace espalier {

Trainable classifier(Module& model, const ClassifierOptions& options) {
  const auto forward = [&model, options](const Batch& batch) {
    if (!model.training()) model.set_training(true);
    const Variable logits = model(batch.images);
    return Outcome{logits, softmax_cross_entropy(logits, batch.labels, {.label_smoothing = options.label_smoothing})};
  };
  return {forward, model.parameters(), model.buffers()};
}

}  // namespace espalier
