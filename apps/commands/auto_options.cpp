#include "apps/commands/auto_options.h"

#include <CLI/CLI.hpp>

namespace espalier::apps {

void add_auto_options(CLI::App& app, AutoRequest& request) {
  auto* const wanted = app.add_flag(
      "--auto", request.wanted, "Find every layer's rate, or with whole channels its width, under a bound on accuracy");
  const auto add = [&](CLI::Option* option) { return option->needs(wanted)->capture_default_str(); };
  add(app.add_option("--max-drop", request.max_drop, "... which is: so many points of a percent may be lost"))
      ->check(CLI::Range(0.0, 99.0));
  add(app.add_option("--minimise", request.minimise, "... of what as little as possible is to be left"))
      ->check(CLI::IsMember({"params", "macs", "bytes", "latency"}))
      ->excludes(app.get_option("--params"))  // a target says it, too
      ->excludes(app.get_option("--macs"))
      ->excludes(app.get_option("--bytes"))
      ->excludes(app.get_option("--latency-ms"))
      ->excludes(app.get_option("--speedup"));
  add(app.add_option("--trials", request.trials, "Candidates that are trained on and judged"))
      ->check(CLI::PositiveNumber);
  add(app.add_option("--trial-epochs", request.epochs, "Epochs that each candidate is trained on for"))
      ->check(CLI::NonNegativeNumber);
  add(app.add_option("--validation", request.validation, "Training images set aside to judge candidates"))
      ->check(CLI::PositiveNumber);
  add(app.add_flag("--measured", request.measured, "Measure times here instead of modelling those of --gpu"))
      ->excludes(app.get_option("--gpu"));
}

}  // namespace espalier::apps
