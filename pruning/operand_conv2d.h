// Convolutions on tensor cores as steps of a Plan. Where one is the only reader of another's result, that stays as the
// product reads it, rounded and nhwc: else turning and rounding it costs a launch and as much time as a small
// convolution takes.
#pragma once
#include <optional>
#include <utility>

#include "kernels/conv2d_arranged.h"
#include "pruning/sparse_functions.h"

namespace espalier::pruning {

struct OperandConv2dFunction : SparseFunction {
  OperandConv2dFunction(const kernels::Conv2dShape& problem, Precision of, kernels::ConvPool after)
      : shape(problem), precision(of), pool(after) {}
  virtual std::shared_ptr<OperandConv2dFunction> copy() const = 0;
  kernels::Conv2dShape shape;
  Precision precision;
  kernels::ConvPool pool;
  bool takes_operand = false, leaves_operand = false;  // in place of fp32 and nchw

 protected:
  Tensor result(const Tensor& x) const;  // not yet written; after a check of x
  template <class T>
  kernels::ConvImages<T> images(const Tensor& x, const Tensor& y) const {
    kernels::ConvImages<T> of;
    if (takes_operand) {
      of.x_operand = static_cast<const T*>(x.raw());
    } else {
      of.x = x.data<float>();
    }
    if (leaves_operand) {
      of.y_operand = static_cast<T*>(y.raw());
    } else {
      of.y = y.data<float>();
    }
    return of;
  }
};

// The dense one: its weight is rounded and arranged when the plan is made, where a layer, whose weight may change, does
// both in every call.
struct ArrangedConv2dFunction final : OperandConv2dFunction {
  ArrangedConv2dFunction(const Tensor& dense, const kernels::Conv2dShape& problem, Precision of,
                         kernels::ConvPool after);
  std::string_view name() const override { return "conv2d"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  std::shared_ptr<OperandConv2dFunction> copy() const override {
    return std::make_shared<ArrangedConv2dFunction>(*this);
  }
  // Whether the kernel takes the shape, and this device the precision.
  static bool takes(const kernels::Conv2dShape& shape, Precision precision);
  Tensor weight;
};

// Both with an operand between them, if they are such convolutions and fit.
struct LinkedConvolutions {
  std::shared_ptr<const Function> before, after;
};
std::optional<LinkedConvolutions> linked(const Function& before, const Function& after);

}  // namespace espalier::pruning
