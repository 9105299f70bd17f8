#include "apps/commands/teachers.h"

#include <CLI/CLI.hpp>

#include "layers/model_file.h"

namespace espalier::apps {

void add_distillation_options(CLI::App& app, Distillation& options) {
  app.add_option("--teacher", options.files, "Checkpoints to learn from, too: the dense model, or up to 8")
      ->expected(1, 8);
  app.add_option("--temperature", options.temperature, "Softens what teachers and pupil think")
      ->check(CLI::Range(0.01, 1000.0))
      ->capture_default_str();
  app.add_option("--teacher-weight", options.weight, "The teachers' part of the loss; the labels have the rest")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
}

Teachers::Teachers(const Distillation& options) : options_(options) {
  for (const std::string& file : options.files) add(load_model(file).module);
}

ClassifierOptions Teachers::loss() const {
  ClassifierOptions loss{.temperature = options_.temperature, .weight = options_.weight};
  for (const auto& model : models_) loss.teachers.push_back(model.get());
  return loss;
}

}  // namespace espalier::apps
