#include "apps/commands/plan_options.h"

#include <CLI/CLI.hpp>
#include <vector>

#include "pruning/fitting_formats.h"

namespace espalier::apps {

void add_gpu_option(CLI::App& app, PlanOptions& options) {
  std::vector<std::string> ids;
  for (const GpuModel& gpu : gpu_models()) ids.emplace_back(gpu.id);
  app.add_option("--gpu", options.gpu, "Model the times of this GPU instead of measuring on the device at hand")
      ->check(CLI::IsMember(ids));
}

void add_plan_options(CLI::App& app, PlanOptions& options) {
  add_gpu_option(app, options);
  app.add_flag("--no-plan-cache", options.no_cache, "Measure everything anew and keep no times in the user's cache");
}

pruning::CompileOptions compile_options(const PlanOptions& options) {
  pruning::CompileOptions result;
  result.objects = pruning::ObjectCache(pruning::user_object_cache());
  if (!options.gpu.empty()) {
    result.gpu = &gpu_model(options.gpu);
  } else if (!options.no_cache) {
    result.cache = pruning::PlanCache(pruning::user_plan_cache());
  }
  return result;
}

pruning::CompileOptions compile_options_of_layers(const PlanOptions& options, Module& model) {
  pruning::CompileOptions result = compile_options(options);
  result.candidates = pruning::fitting_formats(model);
  result.candidates.push_back(pruning::compiled_conv2d());
  return result;
}

pruning::CompileOptions compile_options_of_all(const PlanOptions& options, Module& model) {
  pruning::CompileOptions result = compile_options_of_layers(options, model);
  result.candidates.push_back(pruning::fused_network());
  result.candidates.push_back(pruning::compiled_network());
  return result;
}

}  // namespace espalier::apps
