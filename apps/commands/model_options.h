// Which model a command measures: a checkpoint, or one of the zoo, untrained and pruned by magnitude: times depend on
// where the zeros are, not on what the model knows.
#pragma once
#include <memory>
#include <string>

#include "core/tensor/shape.h"
#include "layers/module.h"

namespace CLI {
class App;
}

namespace espalier::apps {

struct ModelOptions {
  std::string model = "seed-cnn";  // a file, or a name of the zoo
  double sparsity = 0.9;
};

void add_model_options(CLI::App& app, ModelOptions& options);

struct ChosenModel {
  std::string name;  // of the zoo, or the file's
  std::unique_ptr<Module> module;
  Shape image;  // [C, H, W]
};

ChosenModel open_model(const ModelOptions& options);

}  // namespace espalier::apps
