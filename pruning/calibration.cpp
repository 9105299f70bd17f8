#include "pruning/calibration.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/device/stream.h"
#include "kernels/elementwise.h"
#include "kernels/inverse_fisher.h"
#include "kernels/reduce.h"
#include "kernels/require.h"
#include "kernels/scores.h"
#include "layers/loss.h"
#include "pruning/product_steps.h"
#include "pruning/reduced.h"
#include "pruning/weights.h"

namespace espalier::pruning {
namespace {

// Step of the central difference, as a fraction of the norm of all weights: large against the rounding of gradients
// (1e-6 of them), small against the scale on which curvature changes.
constexpr double kDifferenceStep = 3e-3;

const char* name_of(Statistic statistic) {
  constexpr const char* names[] = {"gradients",        "gradient magnitudes", "gradient squares", "the Fisher inverse",
                                   "Hessian products", "input norms",         "activation counts"};
  return names[std::size_t(statistic)];
}

// Inference mode, and the gradients that training left, until it ends.
class Undisturbed {
 public:
  explicit Undisturbed(Module& model) : model_(model), training_(model.training()) {
    for (Parameter* parameter : model.parameters()) {
      gradients_.push_back(parameter->value.has_gradient() ? parameter->value.gradient() : Tensor());
      parameter->value.clear_gradient();
    }
    model.set_training(false);
  }
  ~Undisturbed() {
    const std::vector<Parameter*> parameters = model_.parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      parameters[i]->value.clear_gradient();
      if (gradients_[i].defined()) parameters[i]->value.set_gradient(gradients_[i]);
    }
    model_.set_training(training_);
  }
  Undisturbed(const Undisturbed&) = delete;
  Undisturbed& operator=(const Undisturbed&) = delete;

 private:
  Module& model_;
  bool training_;
  Tensors gradients_;
};

Tensor reduced_planes(const Tensor& x, kernels::Reduction reduction) {  // x [N, C, ...] -> [C]
  const std::int64_t batch = x.shape()[0], channels = x.shape()[1];
  const kernels::PlanesShape shape{batch, channels, x.size() / (batch * channels)};
  const Tensor y = Tensor::empty({channels});
  const Tensor workspace = Tensor::empty({std::int64_t(kernels::reduce_planes_workspace_bytes(shape)) + 1}, DType::u8);
  kernels::reduce_planes(shape, reduction, x.data<float>(), y.data<float>(), workspace.raw(), current_stream());
  return y;
}

double norm_of(const Tensors& tensors) {
  double squares = 0;
  for (const Tensor& x : tensors) squares += double(reduced(x, kernels::Reduction::sum_of_squares));
  return std::sqrt(squares);
}

void scale_in_place(float factor, const Tensor& x) {
  kernels::scale(x.size(), factor, x.data<float>(), x.data<float>(), current_stream());
}

void add_to(Tensor& sum, const Tensor& x) {
  if (!sum.defined()) {
    sum = x;
  } else {
    kernels::add_in_place(x.size(), x.data<float>(), sum.data<float>(), current_stream());
  }
}

}  // namespace

Calibration::Calibration(Module& model, const TrainSplit& split, CalibrationOptions options)
    : model_(model), split_(split.first(options.samples)), options_(std::move(options)), weights_(weights_of(model)) {
  require(options_.samples >= 1 && options_.batch >= 1, "calibration: ", options_.samples, " samples in batches of ",
          options_.batch, "; both must be at least 1");
  require(split_.size() >= 1, "calibration: there are no training samples");
  if (!options_.loss) {
    options_.loss = [](const Variable& output, const Batch& batch) {
      return softmax_cross_entropy(output, batch.labels);
    };
  }
}

void Calibration::ask(Statistic statistic) { gathered_.try_emplace(statistic); }

const Tensor& Calibration::of(Statistic statistic, const Parameter& parameter) const {
  const auto of_statistic = gathered_.find(statistic);
  require(of_statistic != gathered_.end() && !of_statistic->second.empty(), "calibration: no ", name_of(statistic),
          " have been gathered; call run(), or give the calibration to the pruner that scores with it");
  const auto found = of_statistic->second.find(parameter.name);
  require(found != of_statistic->second.end(), "calibration: there are no ", name_of(statistic), " of ", parameter.name,
          "; is it the weight of a product of this model?");
  return found->second;
}

void Calibration::run() {
  const auto start = std::chrono::steady_clock::now();
  cost_ = {.samples = split_.size()};
  begin();
  {
    const Undisturbed undisturbed(model_);
    gather_gradients();
    if (asked(Statistic::hessian_gradient)) gather_hessian_gradient();
    if (asked(Statistic::input_norm) || asked(Statistic::output_nonzeros)) gather_activations();
  }
  synchronize();
  for (const auto& [statistic, tensors] : gathered_) {
    for (const auto& [name, tensor] : tensors) cost_.bytes += tensor.bytes();
  }
  cost_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void Calibration::begin() {
  for (auto& [statistic, tensors] : gathered_) {
    tensors.clear();
    const bool sums = statistic == Statistic::gradient || statistic == Statistic::gradient_magnitude ||
                      statistic == Statistic::gradient_square;
    for (const Parameter* weight : weights_) {
      if (sums) tensors[weight->name] = Tensor::zeros(weight->value.shape());
      if (statistic != Statistic::inverse_fisher) continue;
      Tensor inverse = Tensor::empty({kernels::fisher_runs(weight->size()), kernels::kFisherRun, kernels::kFisherRun});
      kernels::begin_inverse_fisher(weight->size(), options_.fisher_damping, inverse.data<float>(), current_stream());
      tensors[weight->name] = std::move(inverse);
    }
  }
}

void Calibration::for_each_gradient(const std::function<void()>& visit) {
  for (std::int64_t first = 0; first < split_.size(); first += options_.batch) {
    const Batch batch = split_.batch(first, std::min(options_.batch, split_.size() - first));
    for (Parameter* parameter : model_.parameters()) parameter->value.clear_gradient();
    options_.loss(model_(batch.images), batch).backward();
    ++cost_.forward_passes;
    ++cost_.backward_passes;
    visit();
  }
}

void Calibration::gather_gradients() {
  const bool fisher = asked(Statistic::inverse_fisher);
  const std::int64_t batches = (split_.size() + options_.batch - 1) / options_.batch;
  std::vector<Statistic> kept;
  for (const Statistic sum : {Statistic::gradient, Statistic::gradient_magnitude, Statistic::gradient_square}) {
    if (asked(sum)) kept.push_back(sum);
  }
  if (kept.empty() && !fisher) return;
  const auto place = [&](Statistic statistic, const Parameter& weight) -> float* {
    return asked(statistic) ? static_cast<float*>(gathered_.at(statistic).at(weight.name).data<float>()) : nullptr;
  };
  for_each_gradient([&] {
    for (const Parameter* weight : weights_) {
      const Tensor& gradient = weight->value.gradient();
      kernels::accumulate_gradient(weight->size(), gradient.data<float>(),
                                   {.sum = place(Statistic::gradient, *weight),
                                    .magnitudes = place(Statistic::gradient_magnitude, *weight),
                                    .squares = place(Statistic::gradient_square, *weight)},
                                   current_stream());
      if (!fisher) continue;
      const Tensor product = Tensor::like(gradient);
      kernels::add_to_inverse_fisher(weight->size(), batches, gradient.data<float>(), product.data<float>(),
                                     place(Statistic::inverse_fisher, *weight), current_stream());
    }
  });
  for (const Statistic statistic : kept) {
    for (const auto& [name, sum] : gathered_.at(statistic)) scale_in_place(1.0f / float(batches), sum);
  }
}

Tensors Calibration::mean_gradients() {
  Tensors sums(weights_.size());
  std::int64_t batches = 0;
  for_each_gradient([&] {
    for (std::size_t i = 0; i < weights_.size(); ++i) add_to(sums[i], weights_[i]->value.gradient().clone());
    ++batches;
  });
  for (std::size_t i = 0; i < weights_.size(); ++i) {
    scale_in_place(1.0f / float(batches), sums[i]);
    if (const Mask* mask = weights_[i]->mask()) {  // only what lives can move
      kernels::apply_keep(sums[i].size(), mask->keep.data<std::uint8_t>(), sums[i].data<float>(), sums[i].data<float>(),
                          current_stream());
    }
  }
  return sums;
}

// H g = |g| (g(w + e d) - g(w - e d)) / 2e, where d = g / |g| and e a small length.
void Calibration::gather_hessian_gradient() {
  Tensors before;
  for (const Parameter* weight : weights_) before.push_back(weight->value.value().clone());
  const Tensors direction = mean_gradients();
  const double length = norm_of(direction), step = kDifferenceStep * std::max(norm_of(before), 1e-6);
  const auto gradients_at = [&](double offset) {
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      const Tensor& weight = weights_[i]->value.value();
      kernels::axpy(weight.size(), length > 0 ? float(offset / length) : 0.0f, direction[i].data<float>(),
                    weight.data<float>(), current_stream());
    }
    Tensors gradients = mean_gradients();
    for (std::size_t i = 0; i < weights_.size(); ++i) weights_[i]->value.value().copy_from(before[i]);
    return gradients;
  };
  const Tensors ahead = gradients_at(step), behind = gradients_at(-step);
  for (std::size_t i = 0; i < weights_.size(); ++i) {
    kernels::axpy(ahead[i].size(), -1.0f, behind[i].data<float>(), ahead[i].data<float>(), current_stream());
    scale_in_place(float(length / (2 * step)), ahead[i]);
    gathered_[Statistic::hessian_gradient][weights_[i]->name] = ahead[i];
  }
}

void Calibration::gather_activations() {
  const std::int64_t batches = (split_.size() + options_.batch - 1) / options_.batch;
  for (std::int64_t first = 0; first < split_.size(); first += options_.batch) {
    add_activations(split_.batch(first, std::min(options_.batch, split_.size() - first)));
    ++cost_.forward_passes;
  }
  if (asked(Statistic::output_nonzeros)) {
    for (const auto& [name, mean] : gathered_.at(Statistic::output_nonzeros)) scale_in_place(1 / float(batches), mean);
  }
  if (!asked(Statistic::input_norm)) return;
  for (auto& [name, squares] : gathered_.at(Statistic::input_norm)) {  // one number per channel: on the host
    std::vector<float> norms = squares.to_host();
    for (float& norm : norms) norm = std::sqrt(norm);
    squares = Tensor::from(squares.shape(), std::span<const float>(norms));
  }
}

void Calibration::add_activations(const Batch& batch) {
  const Trace traced = trace_inference(model_, batch.images);
  for (const ProductStep& product : product_steps(traced)) {
    const auto is_its = [&](const Parameter* weight) { return weight->value.value().raw() == product.weight.raw(); };
    const auto weight = std::find_if(weights_.begin(), weights_.end(), is_its);
    if (weight == weights_.end()) continue;
    if (asked(Statistic::input_norm)) {
      const Tensor squares =
          reduced_planes(traced.values[std::size_t(product.input)].tensor, kernels::Reduction::sum_of_squares);
      add_to(gathered_[Statistic::input_norm][(*weight)->name],
             squares.reshape({product.groups, squares.size() / product.groups}));
    }
    if (asked(Statistic::output_nonzeros)) {
      const Tensor& y = traced.values[std::size_t(activated_output(traced, product))].tensor;
      const Tensor nonzero = Tensor::like(y);
      kernels::indicate_nonzero(y.size(), y.data<float>(), nonzero.data<float>(), current_stream());
      add_to(gathered_[Statistic::output_nonzeros][(*weight)->name], reduced_planes(nonzero, kernels::Reduction::mean));
    }
  }
}

}  // namespace espalier::pruning
