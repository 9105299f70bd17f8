// Who teaches a model that is fine-tuned: checkpoints, as the command line names them, or dense models that a recipe
// trains.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/data/image_data.h"
#include "layers/classifier.h"

namespace CLI {
class App;
}

namespace espalier::apps {

struct Distillation {
  std::int64_t teachers = 0;            // dense models of a recipe, of consecutive seeds from the run's own on
  std::string model = {};               // of the zoo; empty: the recipe's
  std::vector<std::string> files = {};  // checkpoints instead
  float temperature = 4.0f, weight = 0.9f;
  bool ask_once = false;  // about the images as they are; what is thought of these then goes for their distortions
};

void add_distillation_options(CLI::App& app, Distillation& options);  // --teacher, --temperature, --teacher-weight

class Teachers {
 public:
  // Those of its files, who must see images scaled as the `pupil` sees them; throws FileError, CheckpointError.
  Teachers(const Distillation& options, const data::Normalisation& pupil);
  void add(std::unique_ptr<Module> teacher) { models_.push_back(std::move(teacher)); }
  // For a run over these images: what the teachers think of each is worked out now, once, unless every epoch distorts
  // them anew and ask_once is not set. Refers to this.
  ClassifierOptions loss(const TrainSplit& images, bool augmented) const;

 private:
  Distillation options_;
  std::vector<std::unique_ptr<Module>> models_;
};

}  // namespace espalier::apps
