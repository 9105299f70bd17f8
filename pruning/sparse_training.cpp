#include "pruning/sparse_training.h"

#include <fmt/format.h>

#include <limits>
#include <tuple>

#include "core/device/graph.h"
#include "core/device/timer.h"
#include "core/tensor/initialise.h"
#include "core/train/sgd.h"
#include "kernels/require.h"
#include "kernels/vendor/sparse.h"
#include "layers/architecture.h"
#include "layers/dense.h"
#include "pruning/choice.h"
#include "pruning/criterion.h"

namespace espalier::pruning {
namespace {

constexpr double kNever = 2.0;                                       // above any sparsity
constexpr double kTried[] = {0.98, 0.95, 0.9, 0.85, 0.8, 0.7, 0.5};  // from where sparse wins most surely
constexpr double kClearly = 0.95;  // of the dense time; more is a tie, which dense wins

// Median time of a training step of a layer and of what follows it, captured as a trainer does.
double step_us(Module& layers, const Tensor& images, Gradient wanted, const Tensor& gradient) {
  Sgd optimizer(layers.parameters(), {.learning_rate = 0.0f, .momentum = 0.9f});
  const Graph step([&] {
    optimizer.zero_gradients();
    layers(Variable(images, wanted)).backward(gradient);
    optimizer.step();
  });
  return benchmark([&] { step.launch(); }, {.warmup = 2, .min_repeats = 5, .budget_ms = 20}).median_us;
}

// Of the same step with the gradients of kept weights by each library that has them.
struct SparseStep {
  double us = 0.0;
  SampledBy by = SampledBy::ours;
};

BreakEven measure_break_even(const LayerCall& call, std::int64_t batch) {
  const std::unique_ptr<Module> layers = build(call.layers);
  Parameter& weight = *layers->parameters().front();
  std::vector<std::int64_t> sides{batch};
  sides.insert(sides.end(), call.input.extents().begin(), call.input.extents().end());
  const Tensor images = kaiming_uniform(Shape(sides), 2);
  const Tensor gradient = kaiming_uniform((*layers)(images).shape(), 3);
  const double dense = step_us(*layers, images, call.input_gradient, gradient);
  const Tensor scores = random(4)(weight);
  const auto sparse_by = [&](SampledBy by) {
    weight.train_kept(by);
    return SparseStep{step_us(*layers, images, call.input_gradient, gradient), by};
  };
  BreakEven found{kNever};
  for (const double sparsity : kTried) {
    const auto kept = std::int64_t((1.0 - sparsity) * double(weight.size()));
    if (kept == 0) continue;
    weight.set_mask(highest(scores, kept));
    SparseStep best = sparse_by(SampledBy::ours);
    if (weight.value.shape().rank() == 2 && !kernels::vendor::sparse_version().empty()) {
      const SparseStep theirs = sparse_by(SampledBy::vendor);
      if (theirs.us < kClearly * best.us) best = theirs;
    }
    if (best.us >= kClearly * dense) break;
    found = {sparsity, best.by};
  }
  return found;
}

}  // namespace

BreakEven measured_break_even(const LayerCall& call, std::int64_t batch) {
  require(batch > 0, "sparse training: measured at a batch of ", batch, "; it must be at least 1");
  static thread_local std::map<std::tuple<std::string, std::int64_t, Math>, BreakEven> known;
  const std::string layers = to_json(call.layers) + call.input.to_string() +
                             (call.input_gradient == Gradient::required ? " with dx" : " without dx");
  const auto key = std::make_tuple(layers, batch, current_math());
  if (const auto found = known.find(key); found != known.end()) return found->second;
  return known[key] = measure_break_even(call, batch);
}

double measured_break_even(std::int64_t rows, std::int64_t columns, std::int64_t batch) {
  require(rows > 0 && columns > 0, "sparse training: a weight ", rows, " x ", columns, "; both must be at least 1");
  return measured_break_even(Dense(columns, rows).last_call().value(), batch).from;
}

SparseExecution::SparseExecution(Module& model, const std::vector<Parameter*>& parameters,
                                 const SparseTrainingOptions& options)
    : options_(options) {
  require(options.threshold >= 0.0 && options.threshold <= 1.0, "sparse training: from a sparsity of ",
          options.threshold, "; it must be in [0, 1]");
  require(options.batch >= 1, "sparse training: measured at a batch of ", options.batch);
  std::map<const Parameter*, const ProductLayer*> layers;
  for (Module* module : model.modules()) {
    if (auto* const layer = dynamic_cast<ProductLayer*>(module)) layers[&layer->weight()] = layer;
  }
  for (Parameter* parameter : parameters) {
    const auto layer = layers.find(parameter);
    weights_.push_back({parameter, layer == layers.end() ? nullptr : layer->second});
  }
}

std::optional<BreakEven> SparseExecution::threshold_of(const Weight& weight) {
  if (options_.when == SparseTraining::on) return BreakEven{options_.threshold};
  const std::string& name = weight.parameter->name;
  if (const auto known = thresholds_.find(name); known != thresholds_.end()) return known->second;
  const std::optional<LayerCall> call = weight.layer->last_call();
  if (!call) return std::nullopt;
  return thresholds_[name] = measured_break_even(*call, options_.batch);
}

void SparseExecution::judge(Weight& weight) {
  const Parameter& parameter = *weight.parameter;
  weight.sparse = false;
  if (!parameter.can_train_kept || weight.layer == nullptr) {
    weight.keep = parameter.mask()->keep;
    weight.reason = "its layer has no products of kept weights alone";
    return;
  }
  const Shape& shape = parameter.value.shape();
  const std::int64_t window = parameter.size() / shape[0];
  if (options_.when == SparseTraining::on && shape.rank() > 2 && window < options_.least_window) {
    weight.keep = parameter.mask()->keep;
    weight.reason = fmt::format("windows of {} weights are below {}: its maps cost more than its products", window,
                                options_.least_window);
    return;
  }
  const std::optional<BreakEven> threshold = threshold_of(weight);
  if (!threshold) return;  // asked again after the next step, in which the layer is called
  weight.by = threshold->by;
  weight.keep = parameter.mask()->keep;
  const std::int64_t kept = parameter.mask()->kept();
  const double sparsity = 1.0 - double(kept) / double(parameter.size());
  // A share that was pruned to may be missed by a weight or two, as not every count is a whole one.
  weight.sparse = kept > 0 && double(parameter.size() - kept) >= threshold->from * double(parameter.size()) - 1.0;
  weight.reason = fmt::format("{:.1f} % are pruned, ", 100 * sparsity) +
                  (threshold->from > 1.0 ? "dense steps are faster at any sparsity here"
                                         : fmt::format("sparse from {:.1f} %", 100 * threshold->from));
  if (weight.sparse && weight.by == SampledBy::vendor) {
    weight.reason += fmt::format(", gradients by {}", kernels::vendor::sparse_name());
  }
}

void SparseExecution::choose(bool all_gradients) {
  if (options_.when == SparseTraining::off) return;
  for (Weight& weight : weights_) {
    Parameter& parameter = *weight.parameter;
    if (!parameter.mask()) {
      weight = {weight.parameter, weight.layer};
      continue;
    }
    if (!weight.keep.defined() || weight.keep.raw() != parameter.mask()->keep.raw()) judge(weight);
    const bool sparse = weight.sparse && !all_gradients;
    const KeptWeights* const kept = parameter.kept().get();
    if (sparse ? kept != nullptr && kept->sampled_by == weight.by : kept == nullptr) continue;
    sparse ? parameter.train_kept(weight.by) : parameter.train_all();
  }
}

void SparseExecution::set_thresholds(std::map<std::string, BreakEven> thresholds) {
  thresholds_ = std::move(thresholds);
  for (Weight& weight : weights_) weight.keep = Tensor();  // to be judged by them
}

std::vector<SparseTrainingChoice> SparseExecution::choices() const {
  std::vector<SparseTrainingChoice> choices;
  for (const Weight& weight : weights_) {
    if (weight.keep.defined()) choices.push_back({weight.parameter->name, weight.sparse, weight.reason});
  }
  return choices;
}

}  // namespace espalier::pruning
