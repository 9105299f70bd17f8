// A Module and the softmax cross-entropy of its logits, as a Trainer wants them:
//   Trainer trainer(classifier(model), optimizer, train, {.epochs = 3});
#pragma once
#include "core/train/trainer.h"
#include "layers/module.h"

namespace espalier {

struct ClassifierOptions {
  float label_smoothing = 0.0f;
};

Trainable classifier(Module& model, const ClassifierOptions& options = {});  // refers to `model`

}  // namespace espalier
