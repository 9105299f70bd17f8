// The update of all weights in one launch, with masks: lenet-5's eight tensors, and one large one.
#include "apps/benchmarks/case.h"
#include "apps/benchmarks/operands.h"
#include "core/device/stream.h"
#include "core/train/optimizer.h"
#include "kernels/loss_scale.h"
#include "kernels/optimizer.h"

namespace espalier::benchmarks {
namespace {

struct Model {
  const char* name;
  std::vector<std::int64_t> tensors;
  std::int64_t weights() const {
    std::int64_t sum = 0;
    for (const std::int64_t count : tensors) sum += count;
    return sum;
  }
};
const Model kModels[] = {{"lenet-5", {500, 20, 25000, 50, 400000, 500, 5000, 10}}, {"16 Mi weights", {1 << 24}}};

struct Operands {
  Tensor value, gradient, first, second, keep;
  explicit Operands(std::int64_t n)
      : value(random({n}, 1)),
        gradient(random({n}, 2)),
        first(Tensor::zeros({n})),
        second(Tensor::zeros({n})),
        keep(random_bits(n, 0.1)) {}
};

std::vector<Operands> operands_of(const Model& model) {
  std::vector<Operands> all;
  for (const std::int64_t count : model.tensors) all.emplace_back(count);
  return all;
}

std::function<void()> sgd(const Model& model) {
  const std::vector<Operands> operands = operands_of(model);
  std::vector<kernels::SgdTensor> tensors;
  for (const Operands& t : operands) {
    tensors.push_back({.value = t.value.data<float>(),
                       .gradient = t.gradient.data<float>(),
                       .momentum = t.first.data<float>(),
                       .keep = t.keep.data<std::uint32_t>(),
                       .count = t.value.size()});
  }
  kernels::SgdState state;
  state.momentum = 0.9f;
  const DeviceState<kernels::SgdState> device(state);
  return [=] { kernels::sgd_update(tensors, device.get(), current_stream()), static_cast<void>(operands); };
}

std::function<void()> adam(const Model& model) {
  const std::vector<Operands> operands = operands_of(model);
  std::vector<kernels::AdamTensor> tensors;
  for (const Operands& t : operands) {
    tensors.push_back({.value = t.value.data<float>(),
                       .gradient = t.gradient.data<float>(),
                       .first_moment = t.first.data<float>(),
                       .second_moment = t.second.data<float>(),
                       .keep = t.keep.data<std::uint32_t>(),
                       .count = t.value.size()});
  }
  const DeviceState<kernels::AdamState> device(kernels::AdamState{});
  return [=] { kernels::adam_update(tensors, device.get(), current_stream()), static_cast<void>(operands); };
}

std::function<void()> overflow(const Model& model) {
  std::vector<Tensor> gradients;
  std::vector<kernels::GradientTensor> views;
  for (const std::int64_t count : model.tensors) {
    gradients.push_back(random({count}));
    views.push_back({.gradient = gradients.back().data<float>(), .count = count});
  }
  const DeviceState<kernels::LossScaleState> device(kernels::LossScaleState{});
  return [=] { kernels::find_overflow(views, device.get(), current_stream()), static_cast<void>(gradients); };
}

}  // namespace

Cases training_cases() {
  Cases cases;
  for (const Model& model : kModels) {
    const double n = double(model.weights()), mask_bytes = n / 8;
    cases.push_back({.kernel = "find_overflow", .shape = model.name, .bytes = 4 * n, .prepare = [&model] {
                       return Variants{{"ours", overflow(model)}};
                     }});
    cases.push_back({.kernel = "sgd_update",
                     .shape = std::string(model.name) + ", momentum, masked",
                     .flops = 6 * n,
                     .bytes = 20 * n + mask_bytes,
                     .prepare = [&model] {
                       return Variants{{"ours", sgd(model)}};
                     }});
    cases.push_back({.kernel = "adam_update",
                     .shape = std::string(model.name) + ", masked",
                     .flops = 15 * n,
                     .bytes = 28 * n + mask_bytes,
                     .prepare = [&model] {
                       return Variants{{"ours", adam(model)}};
                     }});
  }
  return cases;
}

}  // namespace espalier::benchmarks
