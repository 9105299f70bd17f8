// A Module and the softmax cross-entropy of its logits, as a Trainer wants them, or, where it has teachers, their
// distillation_loss(); teachers see the very batches, distorted or not, or have said before what they think of every
// image, which saves running them in every step but is only true of images as they are:
//   Trainer trainer(classifier(model), optimizer, train, {.epochs = 3});
//   Trainer trainer(classifier(model, {.teachers = {&dense}}), optimizer, train, {.epochs = 3});
//   Trainer trainer(classifier(model, {.opinions = opinions({&dense}, data.train)}), optimizer, train, {.epochs = 3});
#pragma once
#include <vector>

#include "core/train/trainer.h"
#include "layers/module.h"

namespace espalier {

struct ClassifierOptions {
  float label_smoothing = 0.0f;             // not with teachers
  std::vector<Module*> teachers = {};       // up to 8, which must outlive the Trainable and are only run
  Tensors opinions = {};                    // or what these make, for batches of that data set
  float temperature = 4.0f, weight = 0.9f;  // of the teachers, as layers/loss.h has them
};

// Of each teacher, its logits for each sample of the split, f32 [samples of the whole data set, classes]; zeros for
// samples that are not of the split.
Tensors opinions(const std::vector<Module*>& teachers, const TrainSplit& split, std::int64_t batch = 256);

Trainable classifier(Module& model, const ClassifierOptions& options = {});  // refers to `model`

}  // namespace espalier
