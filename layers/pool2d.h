// Max and average pooling of images [N, C, H, W] over square windows: MaxPool2d(2) halves each side,
// MaxPool2d(3, {.stride = 2, .padding = 1}) lets windows overlap. Max keeps one byte per output for backward.
#pragma once
#include <cstdint>
#include <string_view>

#include "kernels/pool2d.h"
#include "layers/module.h"

namespace espalier {

using kernels::AverageDivisor;

struct Pool2dOptions {
  std::int64_t stride = 0;   // 0: the window's size, so that windows do not overlap
  std::int64_t padding = 0;  // on every side; less than the window
};

struct AvgPool2dOptions {
  std::int64_t stride = 0;
  std::int64_t padding = 0;
  AverageDivisor divisor = AverageDivisor::window;
};

// The sizes that both kinds share, with the stride resolved.
struct PoolWindow {
  std::int64_t window = 2, stride = 2, padding = 0;

  PoolWindow(std::int64_t window, std::int64_t stride, std::int64_t padding);
  // `who` names the layer in errors.
  kernels::Pool2dShape shape_for(const Shape& input, std::string_view who) const;
  Shape output_shape(const Shape& input, std::string_view who) const;
};

struct MaxPool2dFunction final : Function {
  PoolWindow pool;

  explicit MaxPool2dFunction(const PoolWindow& of) : pool(of) {}
  std::string_view name() const override { return "max_pool2d"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  Tensors backward(const Tensor& output_gradient, const Context& context) const override;
  ChannelFlow channel_flow() const override { return ChannelFlow::uniform; }
};

struct AvgPool2dFunction final : Function {
  PoolWindow pool;
  AverageDivisor divisor;

  AvgPool2dFunction(const PoolWindow& of, AverageDivisor by) : pool(of), divisor(by) {}
  std::string_view name() const override { return "avg_pool2d"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  Tensors backward(const Tensor& output_gradient, const Context& context) const override;
  ChannelFlow channel_flow() const override {  // zeros of the padding may count
    const bool uniform = pool.padding == 0 || divisor == AverageDivisor::inside;
    return uniform ? ChannelFlow::uniform : ChannelFlow::separate;
  }
};

class MaxPool2d : public Module {
 public:
  explicit MaxPool2d(std::int64_t window, const Pool2dOptions& options = {});
  Variable operator()(const Variable& x) override;
  const PoolWindow& pool() const { return pool_; }
  std::string_view kind() const override { return "max_pool2d"; }
  Description describe() const override;

 private:
  PoolWindow pool_;
};

class AvgPool2d : public Module {
 public:
  explicit AvgPool2d(std::int64_t window, const AvgPool2dOptions& options = {});
  Variable operator()(const Variable& x) override;
  const PoolWindow& pool() const { return pool_; }
  AverageDivisor divisor() const { return divisor_; }
  std::string_view kind() const override { return "avg_pool2d"; }
  Description describe() const override;

 private:
  PoolWindow pool_;
  AverageDivisor divisor_;
};

}  // namespace espalier
