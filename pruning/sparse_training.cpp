#include "pruning/sparse_training.h"

#include <fmt/format.h>

#include <limits>
#include <tuple>

#include "core/device/timer.h"
#include "core/tensor/initialise.h"
#include "core/train/sgd.h"
#include "kernels/require.h"
#include "layers/dense.h"
#include "pruning/choice.h"
#include "pruning/criterion.h"

namespace espalier::pruning {
namespace {

constexpr double kNever = 2.0;                                       // above any sparsity
constexpr double kTried[] = {0.98, 0.95, 0.9, 0.85, 0.8, 0.7, 0.5};  // from where sparse wins most surely
constexpr double kClearly = 0.95;  // of the dense time; more is a tie, which dense wins

// Median time of a training step of one dense layer.
double step_us(Dense& layer, const Tensor& images, const Tensor& gradient) {
  Sgd optimizer(layer.parameters(), {.learning_rate = 0.0f, .momentum = 0.9f});
  const auto step = [&] {
    optimizer.zero_gradients();
    layer(Variable(images, Gradient::required)).backward(gradient);
    optimizer.step();
  };
  return benchmark(step, {.warmup = 2, .min_repeats = 5, .budget_ms = 20}).median_us;
}

double measure_break_even(std::int64_t rows, std::int64_t columns, std::int64_t batch) {
  Dense layer(columns, rows, {.seed = 1});
  const Tensor images = kaiming_uniform({batch, columns}, 2), gradient = kaiming_uniform({batch, rows}, 3);
  const double dense = step_us(layer, images, gradient);
  const Tensor scores = random(4)(layer.weight());
  double from = kNever;
  for (const double sparsity : kTried) {
    const auto kept = std::int64_t((1.0 - sparsity) * double(layer.weight().size()));
    if (kept == 0) continue;
    layer.weight().set_mask(highest(scores, kept));
    layer.weight().train_kept();
    if (step_us(layer, images, gradient) >= kClearly * dense) break;
    from = sparsity;
  }
  return from;
}

}  // namespace

double measured_break_even(std::int64_t rows, std::int64_t columns, std::int64_t batch) {
  require(rows > 0 && columns > 0 && batch > 0, "sparse training: a weight ", rows, " x ", columns, " at a batch of ",
          batch, "; all must be at least 1");
  static thread_local std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t, Math>, double> known;
  const auto key = std::make_tuple(rows, columns, batch, current_math());
  if (const auto found = known.find(key); found != known.end()) return found->second;
  return known[key] = measure_break_even(rows, columns, batch);
}

SparseExecution::SparseExecution(std::vector<Parameter*> parameters, const SparseTrainingOptions& options)
    : options_(options) {
  require(options.threshold >= 0.0 && options.threshold <= 1.0, "sparse training: from a sparsity of ",
          options.threshold, "; it must be in [0, 1]");
  require(options.batch >= 1, "sparse training: measured at a batch of ", options.batch);
  for (Parameter* parameter : parameters) weights_.push_back({parameter});
}

double SparseExecution::threshold_of(const Parameter& parameter) {
  if (options_.when == SparseTraining::on) return options_.threshold;
  const auto known = thresholds_.find(parameter.name);
  if (known != thresholds_.end()) return known->second;
  const Shape& shape = parameter.value.shape();
  return thresholds_[parameter.name] = measured_break_even(shape[0], shape[1], options_.batch);
}

void SparseExecution::judge(Weight& weight) {
  const Parameter& parameter = *weight.parameter;
  weight.keep = parameter.mask()->keep;
  weight.sparse = false;
  if (!parameter.can_train_kept) {
    weight.reason = "its layer has no products of kept weights alone";
    return;
  }
  const std::int64_t kept = parameter.mask()->kept();
  const double sparsity = 1.0 - double(kept) / double(parameter.size()), threshold = threshold_of(parameter);
  // A share that was pruned to may be missed by a weight or two, as not every count is a whole one.
  weight.sparse = kept > 0 && double(parameter.size() - kept) >= threshold * double(parameter.size()) - 1.0;
  weight.reason = fmt::format("{:.1f} % are pruned, ", 100 * sparsity) +
                  (threshold > 1.0 ? "dense steps are faster at any sparsity here"
                                   : fmt::format("sparse from {:.1f} %", 100 * threshold));
}

void SparseExecution::choose(bool all_gradients) {
  if (options_.when == SparseTraining::off) return;
  for (Weight& weight : weights_) {
    Parameter& parameter = *weight.parameter;
    if (!parameter.mask()) {
      weight = {weight.parameter};
      continue;
    }
    if (!weight.keep.defined() || weight.keep.raw() != parameter.mask()->keep.raw()) judge(weight);
    const bool sparse = weight.sparse && !all_gradients;
    if (sparse == (parameter.kept() != nullptr)) continue;
    sparse ? parameter.train_kept() : parameter.train_all();
  }
}

std::vector<SparseTrainingChoice> SparseExecution::choices() const {
  std::vector<SparseTrainingChoice> choices;
  for (const Weight& weight : weights_) {
    if (weight.keep.defined()) choices.push_back({weight.parameter->name, weight.sparse, weight.reason});
  }
  return choices;
}

}  // namespace espalier::pruning
