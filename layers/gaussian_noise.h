// What a product of random weights is made of beside two products: the squares of its input, and noise on its sums
// (kernels/variational.h).
#pragma once
#include <cstdint>
#include <string_view>

#include "core/autograd/function.h"

namespace espalier {

struct SquareFunction final : Function {
  std::string_view name() const override { return "square"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  Tensors backward(const Tensor& output_gradient, const Context& context) const override;
};

// inputs: mean and variance; y normal with these.
struct GaussianNoiseFunction final : Function {
  std::uint64_t seed;
  Tensor step;  // i64 [1]: who counts it draws anew

  GaussianNoiseFunction(std::uint64_t of, Tensor at) : seed(of), step(std::move(at)) {}
  std::string_view name() const override { return "gaussian_noise"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  Tensors backward(const Tensor& output_gradient, const Context& context) const override;
};

}  // namespace espalier
