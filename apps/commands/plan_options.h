// How a command compiles a model: measured here, or modelled for a GPU that is not here; with times of earlier runs.
#pragma once
#include <string>

#include "pruning/plan.h"

namespace CLI {
class App;
}

namespace espalier::apps {

struct PlanOptions {
  std::string gpu = {};   // "a100": modelled; empty: measured on this device
  bool no_cache = false;  // measure everything anew, keep nothing
};

void add_gpu_option(CLI::App& app, PlanOptions& options);
void add_plan_options(CLI::App& app, PlanOptions& options);  // --gpu and --no-plan-cache

pruning::CompileOptions compile_options(const PlanOptions& options);
// The same with every format that there is, in the sizes that the model's masks fit ...
pruning::CompileOptions compile_options_of_layers(const PlanOptions& options, Module& model);
// ... and with the ways of the whole network: to show, or to run.
pruning::CompileOptions compile_options_of_all(const PlanOptions& options, Module& model);

}  // namespace espalier::apps
