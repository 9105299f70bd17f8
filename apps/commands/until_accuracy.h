// Training until the validation images are recognised well enough: when to look, what was seen, how long it took.
#pragma once
#include <chrono>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "apps/commands/output.h"
#include "core/data/split.h"
#include "layers/module.h"

namespace espalier::apps {

struct UntilOptions {
  double percent = 0;               // to reach; 0: train for all epochs
  std::int64_t evaluate_every = 0;  // steps; 0: after each epoch
  std::int64_t validation = 5000;   // training images set aside to decide by
  bool wanted() const { return percent > 0; }
};

void add_until_options(CLI::App& app, UntilOptions& options);

// The test images take no part in it: the run must not know them before it has ended.
class AccuracyWatch {
 public:
  AccuracyWatch(const UntilOptions& options, Module& model, const ValidationSplit& validation, const Output& output);
  bool enough(std::int64_t step);  // looks; its own time does not count as training
  nlohmann::json to_json() const;
  std::string summary() const;

 private:
  struct Look {
    std::int64_t step = 0;
    double accuracy = 0, training_seconds = 0;
  };
  bool reached() const;

  UntilOptions options_;
  Module& model_;
  const ValidationSplit& validation_;
  const Output& output_;
  std::chrono::steady_clock::time_point training_since_;
  double training_seconds_ = 0;  // up to the last look
  std::vector<Look> looks_;
};

}  // namespace espalier::apps
