// A Module and the softmax cross-entropy of its logits, as a Trainer wants them, or, where it has teachers, their
// distillation_loss(); teachers see the very batches, distorted or not:
//   Trainer trainer(classifier(model), optimizer, train, {.epochs = 3});
//   Trainer trainer(classifier(model, {.teachers = {&dense}}), optimizer, train, {.epochs = 3});
#pragma once
#include <vector>

#include "core/train/trainer.h"
#include "layers/module.h"

namespace espalier {

struct ClassifierOptions {
  float label_smoothing = 0.0f;             // not with teachers
  std::vector<Module*> teachers = {};       // up to 8, which must outlive the Trainable and are only run
  float temperature = 4.0f, weight = 0.9f;  // of the teachers, as layers/loss.h has them
};

Trainable classifier(Module& model, const ClassifierOptions& options = {});  // refers to `model`

}  // namespace espalier
