// The pruner's shares: which layer gets which part of a budget, and the search for the budget that meets a target.
#include <algorithm>
#include <cmath>

#include "core/device/stream.h"
#include "kernels/keep.h"
#include "kernels/require.h"
#include "pruning/choice.h"
#include "pruning/pruner.h"

namespace espalier::pruning {
namespace {

std::int64_t living_rows(const Mask& mask) {
  const std::vector<std::uint8_t> keep = mask.keep.to_host_as<std::uint8_t>();
  const std::int64_t rows = mask.keep.shape()[0], columns = mask.keep.size() / rows;
  std::int64_t living = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto first = keep.begin() + row * columns;
    living += std::find_if(first, first + columns, [](std::uint8_t k) { return k != 0; }) != first + columns;
  }
  return living;
}

// What a model of these masks has of a unit.
class Gauge {
 public:
  Gauge(Module& model, const std::vector<Parameter*>& parameters, const Target& target,
        const std::optional<Shape>& input)
      : parameters_(parameters), unit_(target.unit), report_(pruning::report(model, input)) {
    require(unit_ != Target::Unit::macs || report_.macs() > 0,
            "pruner: a target of multiply-adds needs the shape of the model's input");
    goal_ = left_by(target, dense(), "pruner");
  }
  double goal() const { return goal_; }

  double operator()(const std::vector<Mask>& masks) {
    if (unit_ == Target::Unit::channels) {
      double rows = 0;
      for (const Mask& mask : masks) rows += double(living_rows(mask));
      return rows;
    }
    const std::vector<std::int64_t> kept = count_kept(masks);
    Report report = report_;
    for (std::size_t i = 0; i < masks.size(); ++i) {
      const std::string& name = parameters_[i]->name;
      const auto layer = std::find_if(report.layers.begin(), report.layers.end(),
                                      [&](const LayerReport& each) { return each.name == name; });
      report.kept_parameters += kept[i] - layer->kept;
      layer->kept_macs = layer->macs / layer->total * kept[i];
      layer->kept = kept[i];
    }
    if (unit_ == Target::Unit::macs) return double(report.kept_macs());
    return double(unit_ == Target::Unit::bytes ? report.sparse_bytes() : report.kept_parameters);
  }

 private:
  double dense() const {
    if (unit_ == Target::Unit::macs) return double(report_.macs());
    if (unit_ == Target::Unit::bytes) return double(report_.dense_bytes());
    if (unit_ == Target::Unit::params) return double(report_.parameters);
    double rows = 0;
    for (const Parameter* parameter : parameters_) rows += double(parameter->value.shape()[0]);
    return rows;
  }
  const std::vector<Parameter*>& parameters_;
  Target::Unit unit_;
  Report report_;
  double goal_ = 0;
};

}  // namespace

std::vector<Mask> Pruner::masks_for(const std::vector<Tensor>& scores, double sparsity) const {
  std::vector<Mask> masks(scores.size());
  std::vector<std::size_t> shared;  // layers without a sparsity of their own
  std::vector<Tensor> contest;
  std::vector<Shape> shapes;
  double total = 0, shared_total = 0, removed_elsewhere = 0;
  const double part = options_.full_sparsity > 0 ? std::min(1.0, sparsity / options_.full_sparsity) : 1.0;
  const auto prune_alone = [&](std::size_t i, double own) {
    const Budget budget{.sparsity = own, .min_density = options_.min_density, .max_density = options_.max_density};
    masks[i] = options_.pattern({&scores[i], 1}, budget).at(0);
  };
  for (std::size_t i = 0; i < scores.size(); ++i) {
    total += double(scores[i].size());
    if (own_sparsity_[i] >= 0.0) {
      prune_alone(i, part * own_sparsity_[i]);
      removed_elsewhere += part * own_sparsity_[i] * double(scores[i].size());
      continue;
    }
    shared.push_back(i);
    contest.push_back(scores[i]);
    shapes.push_back(scores[i].shape());
    shared_total += double(scores[i].size());
  }
  if (shared.empty()) return masks;
  const double rest = std::clamp((sparsity * total - removed_elsewhere) / shared_total, 0.0, 1.0 - 1.0 / shared_total);
  if (options_.scope == Scope::global) {
    std::vector<Mask> won = options_.pattern(
        contest, {.sparsity = rest, .min_density = options_.min_density, .max_density = options_.max_density});
    require(won.size() == shared.size(), "pruner: the pattern gave ", won.size(), " masks for ", shared.size(),
            " weights");
    for (std::size_t i = 0; i < shared.size(); ++i) masks[shared[i]] = std::move(won[i]);
    return masks;
  }
  std::vector<double> densities(shared.size(), 1.0 - rest);
  if (options_.scope != Scope::local) {
    densities = random_graph_densities(
        shapes, 1.0 - rest,
        options_.scope == Scope::erdos_renyi ? RandomGraph::erdos_renyi : RandomGraph::erdos_renyi_kernel);
  }
  for (std::size_t i = 0; i < shared.size(); ++i) prune_alone(shared[i], std::max(0.0, 1.0 - densities[i]));
  return masks;
}

// A layer that would fall below its floor keeps the highest that the floor asks for.
std::vector<Mask> Pruner::masks_above(const std::vector<Tensor>& scores, double threshold) const {
  std::vector<Mask> masks;
  for (const Tensor& score : scores) {
    masks.push_back({Tensor::empty(score.shape(), DType::u8)});
    kernels::keep_at_least(score.size(), float(threshold), score.data<float>(), masks.back().keep.data<std::uint8_t>(),
                           current_stream());
  }
  const std::vector<std::int64_t> kept = count_kept(masks);
  const Budget budget{.min_density = options_.min_density, .max_density = options_.max_density};
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const Limits limits(scores[i].size(), budget);
    const std::int64_t allowed = std::clamp(kept[i], limits.floor, limits.ceiling);
    if (allowed != kept[i]) masks[i] = highest(scores[i], allowed);
  }
  return masks;
}

// The fewest removed weights that meet the target, by bisection over their number: each trial is one choice of masks.
std::vector<Mask> Pruner::solve(const std::vector<Tensor>& scores, const Target& target,
                                const std::optional<Shape>& input, double* sparsity) const {
  Gauge gauge(model_, parameters_, target, input);
  std::int64_t total = 0;
  for (const Tensor& score : scores) total += score.size();
  const auto masks_without = [&](std::int64_t removed) { return masks_for(scores, double(removed) / double(total)); };
  std::int64_t low = 0, high = total - 1;  // `high` meets it, or nothing does
  std::vector<Mask> best = masks_without(high);
  const double least = gauge(best);
  require(least <= gauge.goal(), "pruner: ", std::int64_t(gauge.goal()), " ", std::string(to_string(target.unit)),
          " cannot be met; the least that is left here is ", std::int64_t(least),
          "; lower min_density or raise the target");
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    std::vector<Mask> masks = masks_without(middle);
    if (gauge(masks) <= gauge.goal()) {
      high = middle;
      best = std::move(masks);
    } else {
      low = middle + 1;
    }
  }
  if (sparsity) *sparsity = double(high) / double(total);
  return best;
}

}  // namespace espalier::pruning
