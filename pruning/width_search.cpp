#include "pruning/width_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "kernels/require.h"
#include "layers/architecture.h"
#include "pruning/channel_pruning.h"
#include "pruning/pruner.h"
#include "pruning/shrink.h"
#include "pruning/shrink_fold.h"

namespace espalier::pruning {
namespace {

using Widths = std::map<std::string, std::int64_t>;

// What of a group's squared weights falls with its i least channels.
std::vector<double> harm_of(const ChannelGroup& group, const ModelTensors& tensors) {
  std::vector<double> squares;
  for (const std::vector<ChannelSlice>& slices : group.channels) {
    double sum = 0;
    for (const ChannelSlice& slice : slices) {
      const StoredTensor& tensor = tensors.values.at(slice.tensor);
      if (tensor.shape.rank() < 2) continue;
      TensorCut cut(slice.axis + 1);
      cut[slice.axis] = slice.indices;
      for (const float value : apply_cut(tensor, cut).floats()) sum += double(value) * value;
    }
    squares.push_back(sum);
  }
  std::sort(squares.begin(), squares.end());
  const double all = std::max(std::accumulate(squares.begin(), squares.end(), 0.0), 1e-300);
  std::vector<double> harm{0.0};
  for (const double square : squares) harm.push_back(harm.back() + square / all);
  return harm;
}

class WidthSearch {
 public:
  WidthSearch(Module& model, const Shape& input, const WidthOptions& options)
      : model_(model), input_(input), image_(input.with_batch(1)), options_(options) {
    const ModelTensors tensors = tensors_of(model);
    for (const ChannelGroup& group : groups_that_can_fall(model, image_)) all_ += std::int64_t(group.channels.size());
    for (const ChannelGroup& group : groups_that_can_fall(model, image_, options.ignore)) {
      const auto channels = std::int64_t(group.channels.size());
      if (channels < 2 * options.granule) continue;
      const auto told = options.harm.find(group.name);
      groups_.push_back({group.name, channels, told == options.harm.end() ? harm_of(group, tensors) : told->second});
      require(groups_.back().harm.size() == std::size_t(channels) + 1, "widths: ", groups_.back().harm.size(),
              " values of harm for ", group.name, ", which has ", channels, " channels to lose");
      widths_[group.name] = channels;
    }
    require(!groups_.empty(), "widths: no group of channels is as wide as two granules of ", options.granule,
            "; make the granule smaller");
    cost_ = cost_of(widths_);
  }

  // As far as it takes, or as it goes.
  WidthPath walk(double goal) {
    WidthPath path{.full_cost = cost_, .steps = {}};
    while (cost_ > goal) {
      const std::optional<WidthStep> step = best_step();
      if (!step) break;
      widths_[step->group] = step->width, cost_ = step->cost;
      path.steps.push_back(*step);
    }
    return path;
  }

  WidthPlan run(const LatencyGoal& goal) {
    WidthPlan plan{.widths = {}, .steps = {}, .goal_us = goal_us(goal, cost_), .dense_us = cost_, .timing = timing_};
    plan.steps = walk(plan.goal_us).steps;
    require(cost_ <= plan.goal_us,
            fmt::format("{:.1f} µs cannot be reached by widths: best is {:.1f} µs, {:.2f}x of dense ({:.1f} µs), {}",
                        plan.goal_us, cost_, plan.dense_us / cost_, plan.dense_us, timing_));
    for (const Group& group : groups_) {
      const std::int64_t width = widths_.at(group.name);
      if (width == group.channels) continue;
      plan.widths[group.name] = width;
      plan.sparsity += double(group.channels - width) / double(all_);
    }
    plan.us = cost_;
    return plan;
  }

 private:
  struct Group {
    std::string name;
    std::int64_t channels;
    std::vector<double> harm;
    double harm_at(std::int64_t width) const { return harm[std::size_t(channels - width)]; }
  };

  // The network of these widths; nothing is left of the model but what it takes to run.
  double cost_of(const Widths& widths) {
    const std::unique_ptr<Module> copy = build(model_.describe());
    copy->set_name(model_.name());
    Widths narrower;
    double sparsity = 0;
    for (const Group& group : groups_) {
      if (widths.at(group.name) == group.channels) continue;
      narrower[group.name] = widths.at(group.name);
      sparsity += double(group.channels - widths.at(group.name)) / double(all_);
    }
    if (sparsity > 0) {
      Pruner(*copy, {.pattern = channel_pattern(*copy, image_, {.widths = narrower}), .min_density = 0})
          .prune_to(sparsity);
    }
    const Shrunk small = shrink(*copy, image_);
    if (options_.cost) return options_.cost(*small.model);
    const Plan plan = compile(*small.model, input_, options_.compile);
    timing_ = plan.timing();
    return network_us(plan, options_.compile);
  }

  // The widest width of the group's next stair.
  std::optional<WidthStep> next_edge(const Group& group) {
    const std::int64_t now = widths_.at(group.name);
    const auto least =
        std::max<std::int64_t>(options_.granule, std::llround(options_.min_density * double(group.channels)));
    for (std::int64_t width = (now - 1) / options_.granule * options_.granule; width >= least;
         width -= options_.granule) {
      Widths tried = widths_;
      tried[group.name] = width;
      const double cost = cost_of(tried);
      if (cost < cost_ * (1 - options_.edge)) return WidthStep{group.name, width, cost, group.harm_at(width)};
    }
    return std::nullopt;
  }

  std::optional<WidthStep> best_step() {
    std::optional<WidthStep> best;
    double best_worth = -1;
    for (const Group& group : groups_) {
      const auto step = next_edge(group);
      if (!step) continue;
      const double worth = (cost_ - step->cost) / std::max(step->harm - group.harm_at(widths_.at(group.name)), 1e-12);
      if (worth > best_worth) best_worth = worth, best = step;
    }
    return best;
  }

  Module& model_;
  Shape input_, image_;  // of the batch whose time counts, and of one that says how layers hang together
  const WidthOptions& options_;
  std::vector<Group> groups_;
  std::int64_t all_ = 0;  // channels that can fall
  Widths widths_;
  double cost_ = 0;
  std::string timing_ = "as given";
};

void require_possible(const WidthOptions& options) {
  require(options.granule >= 1, "widths: multiples of ", options.granule, "; the granule is at least 1");
  require(options.edge >= 0 && options.edge < 1, "widths: an edge of ", options.edge, "; it is a part in [0, 1)");
}

}  // namespace

WidthPath width_path(Module& model, const Shape& input, const WidthOptions& options) {
  require_possible(options);
  return WidthSearch(model, input, options).walk(-1);
}

WidthPlan widths_for_latency(Module& model, const Shape& input, const LatencyGoal& goal, const WidthOptions& options) {
  require_possible(options);
  return WidthSearch(model, input, options).run(goal);
}

std::string to_string(const WidthPlan& plan) {
  std::string table = fmt::format("{:<24} {:>8} {:>12} {:>10}", "channels of", "left", "us", "harm");
  for (const WidthStep& step : plan.steps) {
    table += fmt::format("\n{:<24} {:>8} {:>12.1f} {:>9.2f}%", step.group, step.width, step.cost, 100 * step.harm);
  }
  return table + fmt::format("\n{:.1f} µs, dense {:.1f} µs, asked for {:.1f} µs (times: {})", plan.us, plan.dense_us,
                             plan.goal_us, plan.timing);
}

}  // namespace espalier::pruning
