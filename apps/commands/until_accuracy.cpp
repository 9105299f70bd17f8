#include "apps/commands/until_accuracy.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "core/device/stream.h"
#include "layers/evaluate.h"

namespace espalier::apps {
namespace {

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

void add_until_options(CLI::App& app, UntilOptions& options) {
  app.add_option("--until-accuracy", options.percent,
                 "Stop as soon as so many percent of the validation images are right, and tell how long it took")
      ->check(CLI::Range(0.0, 100.0));
  app.add_option("--evaluate-every", options.evaluate_every, "Steps between looks at them; 0: after each epoch")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--validation", options.validation, "Training images that --until-accuracy sets aside")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
}

AccuracyWatch::AccuracyWatch(const UntilOptions& options, Module& model, const ValidationSplit& validation,
                             const Output& output)
    : options_(options),
      model_(model),
      validation_(validation),
      output_(output),
      training_since_(std::chrono::steady_clock::now()) {}

bool AccuracyWatch::enough(std::int64_t step) {
  synchronize();  // the steps so far are only enqueued
  training_seconds_ += seconds_since(training_since_);
  looks_.push_back({step, evaluate(model_, validation_).accuracy(), training_seconds_});
  say(output_, fmt::format("step {}: {:.2f} % of {} validation images after {:.2f} s of training\n", step,
                           100 * looks_.back().accuracy, validation_.size(), training_seconds_));
  training_since_ = std::chrono::steady_clock::now();
  return reached();
}

bool AccuracyWatch::reached() const { return !looks_.empty() && 100 * looks_.back().accuracy >= options_.percent; }

std::string AccuracyWatch::summary() const {
  if (looks_.empty()) return "no validation: the run was over before its first look\n";
  const Look& last = looks_.back();
  if (!reached()) {
    return fmt::format("{:.2f} % was not reached: {:.2f} % after {} steps\n", options_.percent, 100 * last.accuracy,
                       last.step);
  }
  return fmt::format("time to {:.2f} %: {:.2f} s, {} steps ({:.2f} % of the validation images; {})\n", options_.percent,
                     last.training_seconds, last.step, 100 * last.accuracy, timing_name());
}

nlohmann::json AccuracyWatch::to_json() const {
  nlohmann::json looks = nlohmann::json::array();
  for (const Look& look : looks_) {
    looks.push_back({{"step", look.step}, {"accuracy", look.accuracy}, {"training_seconds", look.training_seconds}});
  }
  nlohmann::json json{{"target", options_.percent / 100},
                      {"reached", reached()},
                      {"validation_samples", validation_.size()},
                      {"timing", timing_name()},
                      {"looks", looks}};
  json["seconds"] = reached() ? nlohmann::json(looks_.back().training_seconds) : nlohmann::json();
  json["steps"] = reached() ? nlohmann::json(looks_.back().step) : nlohmann::json();
  return json;
}

}  // namespace espalier::apps
