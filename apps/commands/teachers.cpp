#include "apps/commands/teachers.h"

#include <CLI/CLI.hpp>
#include <cmath>
#include <utility>

#include "kernels/require.h"
#include "layers/model_file.h"

namespace espalier::apps {
namespace {

// But for what images set aside change in mean and deviation.
bool alike(const data::Normalisation& a, const data::Normalisation& b) {
  const float most = 0.05f * b.deviation;
  return std::abs(a.mean - b.mean) <= most && std::abs(a.deviation - b.deviation) <= most;
}

}  // namespace

void add_distillation_options(CLI::App& app, Distillation& options) {
  CLI::Option* const teacher =
      app.add_option("--teacher", options.files, "Checkpoints to learn from, too: the dense model, or up to 8")
          ->expected(1, 8);
  app.add_option("--temperature", options.temperature, "Softens what teachers and pupil think")
      ->needs(teacher)
      ->check(CLI::Range(0.01, 1000.0))
      ->capture_default_str();
  app.add_option("--teacher-weight", options.weight, "The teachers' part of the loss; the labels have the rest")
      ->needs(teacher)
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_flag("--ask-once", options.ask_once,
               "With --augment: ask teachers once, about the images as they are, not in each step about distorted ones")
      ->needs(teacher);
}

Teachers::Teachers(const Distillation& options, const data::Normalisation& pupil) : options_(options) {
  for (const std::string& file : options.files) {
    SavedModel teacher = load_model(file);
    const data::Normalisation& own = teacher.normalisation;
    require(alike(own, pupil), "prune: the teacher ", file, " sees pixels less ", own.mean, " over ", own.deviation,
            ", the model less ", pupil.mean, " over ", pupil.deviation,
            "; train both with the same --data and --min-max");
    add(std::move(teacher.module));
  }
}

ClassifierOptions Teachers::loss(const TrainSplit& images, bool augmented) const {
  ClassifierOptions loss{.temperature = options_.temperature, .weight = options_.weight};
  for (const auto& model : models_) loss.teachers.push_back(model.get());
  const bool once = !augmented || options_.ask_once;
  if (once && !models_.empty()) loss.opinions = opinions(std::exchange(loss.teachers, {}), images);
  return loss;
}

}  // namespace espalier::apps
