// Channel pruning for a time: latency against the width of a layer is a staircase, because kernels work in tiles, so a
// width between two edges loses channels for nothing. From the full widths on, each step looks for every group of
// channels at the next width below that really makes the network faster, and takes the one that saves most time for the
// share of squared weights that falls, until the goal is met (NetAdapt: Yang et al. 2018, arXiv 1804.03230; staircases:
// Radu et al. 2019, arXiv 1911.02497). Every time is that of a whole smaller network, compiled.
//   WidthPlan found = widths_for_latency(model, {32, 1, 28, 28}, {.speedup = 2});
//   Pruner pruner(model, {.pattern = channel_pattern(model, input, {.widths = found.widths})});
//   pruner.prune_to(found.sparsity);
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "pruning/latency.h"

namespace espalier::pruning {

struct WidthOptions {
  CompileOptions compile = {.candidates = {dense()}};
  std::int64_t granule = 8;                  // widths that are tried are multiples of it; groups narrower than two stay
  double edge = 0.01;                        // a width whose time is not lower by this part is on the same stair
  double min_density = 0.1;                  // of its channels that each group keeps at least
  std::vector<std::string> ignore = {};      // names of groups that lose nothing
  std::function<double(Module&)> cost = {};  // of a smaller network; none: microseconds of its compiled plan
  // Of losing i channels, by group, never falling; of a group that has none the share of its squared weights.
  std::map<std::string, std::vector<double>> harm = {};
};

struct WidthStep {  // one edge further down
  std::string group;
  std::int64_t width = 0;
  double cost = 0;  // of the network from then on
  double harm = 0;  // what losing all that the group has lost by then does
};

struct WidthPlan {
  std::map<std::string, std::int64_t> widths;  // by group of channels, of those that lose any
  double sparsity = 0;                         // the fraction of all channels that fall
  std::vector<WidthStep> steps;                // in the order taken
  double goal_us = 0, dense_us = 0, us = 0;
  std::string timing = {};
};

// The whole way down, until no width is left that lowers the cost; the model keeps its weights.
struct WidthPath {
  double full_cost = 0;  // with all channels
  std::vector<WidthStep> steps;
};
WidthPath width_path(Module& model, const Shape& input, const WidthOptions& options = {});

// The model keeps its weights. Throws InvalidArgument that says what the best is where the goal cannot be reached.
WidthPlan widths_for_latency(Module& model, const Shape& input, const LatencyGoal& goal,
                             const WidthOptions& options = {});

std::string to_string(const WidthPlan& plan);  // a table for people

}  // namespace espalier::pruning
