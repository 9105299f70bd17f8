#include "pruning/channel_pruning.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "kernels/require.h"
#include "pruning/choice.h"
#include "pruning/schedule.h"
#include "pruning/weights.h"

namespace espalier::pruning {
namespace {

constexpr const char* kUnits[] = {"channels", "multiply-adds", "parameters", "weights"};
constexpr float kPruned = -INFINITY;  // the score of a weight that was pruned before

// One weight of the model: its scores and which channels its rows and columns belong to.
struct ScoredWeight {
  const ChannelGraph::Named* named;
  std::vector<float> scores;
  std::int64_t rows() const { return named->tensor.shape()[0]; }
  std::int64_t columns() const { return named->tensor.shape()[1]; }
  std::int64_t taps() const { return named->tensor.size() / (rows() * columns()); }
  int channel_of(std::size_t axis, std::int64_t i) const {
    const auto& channels = named->channels;
    return axis < channels.size() && !channels[axis].empty() ? channels[axis][std::size_t(i)] : -1;
  }
};

void take_out(std::vector<ChannelGroup>& groups, const std::vector<std::string>& ignore) {
  std::string names;
  for (const ChannelGroup& group : groups) names += " " + group.name;
  for (const std::string& name : ignore) {
    const auto ignored = std::erase_if(groups, [&](const ChannelGroup& group) { return group.name == name; });
    require(ignored > 0, "channels: ", name, " is to be ignored, but is no group of channels that can fall; there are",
            names);
  }
  require(!groups.empty(), "channels: none of the model's can fall; inspect --channels says why");
}

class ChannelPattern {
 public:
  ChannelPattern(Module& model, const Shape& input, ChannelOptions options)
      : graph_(channel_graph(model, input)), options_(std::move(options)) {
    for (ChannelGroup& group : channel_groups(graph_)) {
      if (group.kept_because.empty()) groups_.push_back(std::move(group));
    }
    take_out(groups_, options_.ignore);
    if (options_.norm == ChannelNorm::norm_scale) leave_unscaled();
    check_widths();
    std::size_t place = 0;  // parameters are named first
    for (const Parameter* parameter : model.parameters()) {
      if (parameter->value.shape().rank() >= 2) weights_.push_back(&graph_.named[place]);
      ++place;
    }
  }

  std::vector<Mask> operator()(std::span<const Tensor> scores, const Budget& budget) const {
    require_sparsity(budget.sparsity);
    const std::vector<ScoredWeight> weights = match(scores);
    const std::vector<bool> kept = choose(worths(weights), budget);
    std::vector<Mask> masks;
    for (const ScoredWeight& weight : weights) masks.push_back(mask_of(weight, kept));
    return masks;
  }

 private:
  std::vector<ScoredWeight> match(std::span<const Tensor> scores) const {
    bool fits = scores.size() == weights_.size();
    for (std::size_t i = 0; fits && i < scores.size(); ++i) {
      fits = scores[i].shape() == weights_[i]->tensor.shape();
    }
    require(fits, "channel pattern: it needs the scores of all ", weights_.size(),
            " weights of its model at once; prune with Scope::global and ignore groups, not parameters");
    std::vector<ScoredWeight> weights;
    for (std::size_t i = 0; i < scores.size(); ++i) weights.push_back({weights_[i], scores[i].to_host()});
    return weights;
  }

  static bool scales(const ChannelGraph::Named& named) {
    return named.name.ends_with(".gamma") && !named.channels.empty() && !named.channels[0].empty();
  }

  // Sums of |gamma|; below 0 where no norm scales the channel.
  std::vector<double> norm_scales() const {
    std::vector<double> sums(graph_.channels(), -1.0);
    for (const ChannelGraph::Named& named : graph_.named) {
      if (!scales(named)) continue;
      const std::vector<float> gamma = named.tensor.to_host();
      for (std::size_t i = 0; i < gamma.size(); ++i) {
        double& sum = sums[std::size_t(named.channels[0][i])];
        sum = std::max(sum, 0.0) + std::abs(double(gamma[i]));
      }
    }
    return sums;
  }

  void leave_unscaled() {
    const std::vector<double> sums = norm_scales();
    std::erase_if(groups_, [&](const ChannelGroup& group) { return sums[std::size_t(group.numbers[0])] < 0; });
    require(!groups_.empty(), "channel pattern: no norm scales a channel that can fall; score by weights instead");
  }

  // Of each channel; that of one which fell before is below all others.
  std::vector<double> worths(const std::vector<ScoredWeight>& weights) const {
    std::vector<double> worth(graph_.channels(), 0.0);
    std::vector<bool> alive(graph_.channels(), false);
    for (const ScoredWeight& weight : weights) add(weight, worth, alive);
    if (options_.norm == ChannelNorm::norm_scale) worth = norm_scales();
    for (std::size_t i = 0; i < worth.size(); ++i) {
      if (options_.norm == ChannelNorm::l2) worth[i] = std::sqrt(worth[i]);
      if (!alive[i]) worth[i] = -1.0;
    }
    return worth;
  }

  void add(const ScoredWeight& weight, std::vector<double>& worth, std::vector<bool>& alive) const {
    const std::int64_t taps = weight.taps();
    for (std::int64_t row = 0; row < weight.rows(); ++row) {
      const int maker = weight.channel_of(0, row);
      for (std::int64_t column = 0; column < weight.columns(); ++column) {
        const int read = weight.channel_of(1, column);
        double sum = 0;
        bool any = false;
        for (std::int64_t i = (row * weight.columns() + column) * taps, end = i + taps; i < end; ++i) {
          const double score = double(weight.scores[std::size_t(i)]);
          require(!std::isnan(score), "channel pattern: ", weight.named->name, " has a score that is not a number");
          if (weight.scores[std::size_t(i)] == kPruned) continue;
          sum += options_.norm == ChannelNorm::l2 ? score * score : std::abs(score);
          any = true;
        }
        if (maker >= 0) worth[std::size_t(maker)] += sum;
        if (maker >= 0 && any) alive[std::size_t(maker)] = true;
        if (read >= 0 && read != maker) worth[std::size_t(read)] += sum;
      }
    }
  }

  struct Candidate {
    double worth;
    int channel;
    std::size_t group;
  };

  // In the order in which they fall.
  std::vector<Candidate> ranked(const std::vector<double>& worth) const {
    std::vector<Candidate> all;
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      std::vector<Candidate> group;
      double sum = 0;
      for (const int channel : groups_[g].numbers) {
        group.push_back({worth[std::size_t(channel)], channel, g});
        sum += std::max(0.0, group.back().worth);
      }
      std::stable_sort(group.begin(), group.end(), [](auto& a, auto& b) { return a.worth < b.worth; });
      for (std::size_t i = 0; i < group.size(); ++i) {
        const double width = double(group.size());
        if (options_.contest == ChannelContest::all_layers && group[i].worth >= 0 && sum > 0) {
          group[i].worth *= width / sum;
        } else if (group[i].worth >= 0) {
          group[i].worth = (double(i) + 0.5) / width;
        }
      }
      all.insert(all.end(), group.begin(), group.end());
    }
    std::stable_sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.worth < b.worth; });
    return all;
  }

  std::vector<bool> choose(const std::vector<double>& worth, const Budget& budget) const {
    if (!options_.widths.empty()) return choose_widths(worth, budget.sparsity);
    std::vector<bool> kept(graph_.channels(), true);
    std::vector<std::int64_t> left, floor;
    std::int64_t removable = 0;
    for (const ChannelGroup& group : groups_) {
      left.push_back(std::int64_t(group.channels.size()));
      floor.push_back(
          std::max<std::int64_t>(1, std::llround(std::ceil(budget.min_density * double(left.back()) - 1e-9))));
      removable += left.back();
    }
    const std::int64_t all = left_of(kept), wanted = std::llround(budget.sparsity * double(removable));
    const double allowed = (1.0 - budget.sparsity) * double(all) + 1e-6;
    std::int64_t fallen = 0;
    const auto enough = [&] {
      if (options_.target == ChannelTarget::channels) return fallen >= wanted;
      return double(left_of(kept)) <= allowed;
    };
    for (const Candidate& candidate : ranked(worth)) {
      if (candidate.worth >= 0 && enough()) break;
      if (left[candidate.group] == floor[candidate.group]) continue;
      kept[std::size_t(candidate.channel)] = false;
      --left[candidate.group], ++fallen;
    }
    require(options_.target == ChannelTarget::channels || enough(), "channel pattern: ", 100 * budget.sparsity,
            " % of ", all, " ", kUnits[std::size_t(options_.target)], " cannot go: ", left_of(kept),
            " are left when every layer is at its floor");
    return kept;
  }

  void check_widths() const {
    for (const auto& [name, width] : options_.widths) {
      const auto group = std::find_if(groups_.begin(), groups_.end(),
                                      [&of = name](const ChannelGroup& one) { return one.name == of; });
      require(group != groups_.end(), "channel pattern: a width is given for ", name,
              ", which is no group that can lose channels; inspect --channels lists them");
      require(width >= 1 && width <= std::int64_t(group->channels.size()), "channel pattern: ", name, " has ",
              group->channels.size(), " channels; it cannot come to ", width);
    }
  }

  std::vector<bool> choose_widths(const std::vector<double>& worth, double sparsity) const {
    double all = 0, falling = 0;
    for (const ChannelGroup& group : groups_) {
      all += double(group.channels.size());
      const auto width = options_.widths.find(group.name);
      if (width != options_.widths.end()) falling += double(group.channels.size()) - double(width->second);
    }
    const double part = falling > 0 ? std::min(1.0, sparsity * all / falling) : 0.0;
    std::vector<bool> kept(graph_.channels(), true);
    for (const ChannelGroup& group : groups_) {
      const auto width = options_.widths.find(group.name);
      std::vector<int> order = group.numbers;
      std::stable_sort(order.begin(), order.end(),
                       [&](int a, int b) { return worth[std::size_t(a)] < worth[std::size_t(b)]; });
      const double loss = width == options_.widths.end() ? 0 : double(order.size()) - double(width->second);
      const auto fall = std::size_t(std::llround(part * loss));
      for (std::size_t i = 0; i < order.size(); ++i) {
        if (i < fall || worth[std::size_t(order[i])] < 0) kept[std::size_t(order[i])] = false;
      }
    }
    return kept;
  }

  std::int64_t left_of(const std::vector<bool>& kept) const {
    if (options_.target == ChannelTarget::channels) return std::count(kept.begin(), kept.end(), true);
    if (options_.target == ChannelTarget::macs) return macs(graph_, kept);
    const ChannelCount count = count_left(graph_, kept);
    return options_.target == ChannelTarget::params ? count.parameters : count.weights;
  }

  static Mask mask_of(const ScoredWeight& weight, const std::vector<bool>& kept) {
    std::vector<std::uint8_t> keep(weight.scores.size());
    const std::int64_t per_row = weight.columns() * weight.taps();
    for (std::int64_t row = 0; row < weight.rows(); ++row) {
      const int maker = weight.channel_of(0, row);
      const bool lives = maker < 0 || kept[std::size_t(maker)];
      for (std::size_t i = std::size_t(row * per_row), end = i + std::size_t(per_row); i < end; ++i) {
        keep[i] = lives && weight.scores[i] != kPruned ? 1 : 0;
      }
    }
    return {Tensor::from(weight.named->tensor.shape(), keep)};
  }

  ChannelGraph graph_;
  ChannelOptions options_;
  std::vector<ChannelGroup> groups_;                 // that can fall
  std::vector<const ChannelGraph::Named*> weights_;  // those that a Pruner prunes, in its order
};

}  // namespace

ChannelBudget channel_budget(Module& model, const Shape& input, const Target& target) {
  require(target.unit != Target::Unit::threshold,
          "channel pattern: a threshold is for single weights; give --channels");
  if (target.unit == Target::Unit::sparsity) return {ChannelTarget::weights, target.value};
  const ChannelGraph graph = channel_graph(model, input);
  const ChannelCount all = count_left(graph, std::vector<bool>(graph.channels(), true));
  double channels = 0;
  for (const ChannelGroup& group : channel_groups(graph)) {
    if (group.kept_because.empty()) channels += double(group.channels.size());
  }
  ChannelBudget budget{ChannelTarget::params};
  double dense = double(all.parameters);
  if (target.unit == Target::Unit::macs) budget.target = ChannelTarget::macs, dense = double(all.macs);
  if (target.unit == Target::Unit::channels) budget.target = ChannelTarget::channels, dense = channels;
  if (target.unit == Target::Unit::bytes) dense = double(all.bytes());
  budget.sparsity = 1.0 - left_by(target, dense, "channel pattern") / dense;
  return budget;
}

std::vector<Mask> channel_masks(Module& model, const Shape& input, const Criterion& criterion,
                                const std::map<std::string, std::int64_t>& widths) {
  std::vector<Tensor> scores;
  for (const Parameter* parameter : weights_of(model)) {
    scores.push_back(criterion(*parameter));
    bury_pruned(*parameter, scores.back());
  }
  const double all_the_way = std::nextafter(1.0, 0.0);
  return channel_pattern(model, input, {.widths = widths})(scores, {.sparsity = all_the_way});
}

std::vector<ChannelGroup> groups_that_can_fall(Module& model, const Shape& input,
                                               const std::vector<std::string>& ignore) {
  std::vector<ChannelGroup> found = channel_groups(model, input);
  std::erase_if(found, [](const ChannelGroup& group) { return !group.kept_because.empty(); });
  take_out(found, ignore);
  return found;
}

Pattern channel_pattern(Module& model, const Shape& input, const ChannelOptions& options) {
  const auto pattern = std::make_shared<const ChannelPattern>(model, input, options);
  return [pattern](std::span<const Tensor> scores, const Budget& budget) { return (*pattern)(scores, budget); };
}

}  // namespace espalier::pruning
