// Random weights on the tape: from a weight and what is learned of its distribution to what layers compute with. The
// penalty on the distribution is added to the gradients on their way back, so that it costs no pass of its own.
#pragma once
#include <cstdint>
#include <string_view>

#include "core/autograd/function.h"
#include "kernels/hard_concrete.h"
#include "kernels/variational.h"

namespace espalier::pruning {

// inputs: weight and log variance; the variance, 0 where the weight is pruned.
struct WeightVarianceFunction final : Function {
  Tensor keep;      // u8, or undefined: nothing is pruned
  Tensor strength;  // of the penalty, f32 [1]

  WeightVarianceFunction(Tensor mask, Tensor of_penalty) : keep(std::move(mask)), strength(std::move(of_penalty)) {}
  std::string_view name() const override { return "weight_variance"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  Tensors backward(const Tensor& output_gradient, const Context& context) const override;
};

// inputs: weight and log_alpha of the gates; the weight through gates that are drawn.
struct HardConcreteFunction final : Function {
  kernels::PlanesShape groups;  // of the weight: a channel has a gate
  std::uint64_t seed;
  Tensor step, strength;  // i64 [1], f32 [1]

  HardConcreteFunction(const kernels::PlanesShape& shape, std::uint64_t of, Tensor at, Tensor of_penalty)
      : groups(shape), seed(of), step(std::move(at)), strength(std::move(of_penalty)) {}
  std::string_view name() const override { return "hard_concrete"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  Tensors backward(const Tensor& output_gradient, const Context& context) const override;
};

// inputs: weight; the weight through the gates [groups].
struct GatedFunction final : Function {
  kernels::PlanesShape groups;
  Tensor gates;

  GatedFunction(const kernels::PlanesShape& shape, Tensor of) : groups(shape), gates(std::move(of)) {}
  std::string_view name() const override { return "gated"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  Tensors backward(const Tensor& output_gradient, const Context& context) const override;
};

kernels::VariationalWeight variational(const Tensor& weight, const Tensor& log_variance, const Tensor& keep);
Tensor gated(const kernels::PlanesShape& groups, const Tensor& gates, const Tensor& weight);

}  // namespace espalier::pruning
