#include "apps/commands/channel_options.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "apps/commands/stages.h"
#include "kernels/require.h"
#include "pruning/channel_pruning.h"
#include "pruning/shrink.h"
#include "pruning/shrink_analysis.h"
#include "pruning/weights.h"

namespace espalier::apps {
namespace {

using pruning::Target;

pruning::ChannelContest contest_of(const std::string& scope) {
  require(scope == "global" || scope == "local", "prune: whole channels compete in scope global or local, not ", scope);
  return scope == "global" ? pruning::ChannelContest::all_layers : pruning::ChannelContest::each_layer;
}

pruning::ChannelNorm norm_of(const PruningOptions& options) {
  const bool slims = options.criterion == "batch-norm-scale";
  return slims ? pruning::ChannelNorm::norm_scale : pruning::ChannelNorm::l2;
}

// The pattern counts all channels that can fall.
double use_widths(const PruningOptions& options, Module& model, const Shape& input, pruning::PrunerOptions& made) {
  made.pattern = pruning::channel_pattern(model, input, {.norm = norm_of(options), .widths = options.widths});
  made.scope = pruning::Scope::global;
  made.ignore = {};
  double all = 0, fall = 0;
  for (const pruning::ChannelGroup& group : pruning::channel_groups(model, input)) {
    if (!group.kept_because.empty()) continue;
    all += double(group.channels.size());
    const auto width = options.widths.find(group.name);
    if (width != options.widths.end()) fall += double(group.channels.size()) - double(width->second);
  }
  return fall / all;
}

}  // namespace

bool prunes_channels(const PruningOptions& options) {
  const bool implied = options.pattern == "unstructured" && options.target.unit == Target::Unit::channels;
  return implied || options.pattern == kCoupledChannel;
}

double use_channels(const PruningOptions& options, Module& model, const Shape& input, pruning::PrunerOptions& made) {
  if (!options.widths.empty()) return use_widths(options, model, input, made);
  const pruning::ChannelBudget budget = pruning::channel_budget(model, input, options.target);
  made.pattern = pruning::channel_pattern(model, input,
                                          {.norm = norm_of(options),
                                           .contest = contest_of(options.scope),
                                           .target = budget.target,
                                           .ignore = options.ignore});
  made.scope = pruning::Scope::global;  // shows the pattern all weights at once
  made.ignore = {};
  return budget.sparsity;
}

std::string shrunk_figures(Module& model, const Shape& input) {
  const pruning::ChannelGraph graph = pruning::channel_graph(model, input);
  const auto all = pruning::count_left(graph, std::vector<bool>(graph.channels(), true));
  const auto left = pruning::count_left(graph, pruning::removable_channels(graph, 1).kept);
  const auto part = [](const char* name, std::int64_t some, std::int64_t of) {
    return fmt::format("{} {} of {} ({:.2f} %)", name, some, of, 100.0 * double(some) / double(of));
  };
  return part("weights", left.weights, all.weights) + ", " + part("params", left.parameters, all.parameters) + ", " +
         part("MACs", left.macs, all.macs) + ", " + part("bytes", left.bytes(), all.bytes());
}

nlohmann::json save_shrunk(const ModelFile& file, Module& model, const data::ImageData& images, const Output& output) {
  const Shape image = images.test.samples().dataset().image_shape();
  const pruning::Shrunk shrunk = pruning::shrink(model, {kProbeImages, image[0], image[1], image[2]});
  save_model(file.path, *shrunk.model, file.normalisation, file.notes);
  const Metrics metrics = judge(*shrunk.model, images.test);
  say(output,
      fmt::format("{}\nshrunk: test accuracy {:.2f} %\n{}\n", shrunk, 100 * metrics.accuracy(), file.path.string()));
  nlohmann::json report = nlohmann::json::parse(pruning::to_json(shrunk));
  std::int64_t weights = 0;
  for (const Parameter* parameter : pruning::weights_of(*shrunk.model)) weights += parameter->size();
  report["weights"] = weights;
  report["test_accuracy"] = metrics.accuracy();
  report["checkpoint"] = file.path.string();
  return report;
}

}  // namespace espalier::apps
