#include "layers/pool2d.h"

#include "core/device/stream.h"
#include "kernels/require.h"

namespace espalier {
namespace {

std::string_view words(AverageDivisor divisor) { return divisor == AverageDivisor::window ? "window" : "inside"; }

Description describe_window(std::string_view kind, const PoolWindow& pool) {
  return {std::string(kind), {{"window", pool.window}, {"stride", pool.stride}, {"padding", pool.padding}}, {}};
}

// What to call a layer in an error: its place in the model, or its kind while it has none.
std::string called(const Module& layer) { return layer.name().empty() ? std::string(layer.kind()) : layer.name(); }

}  // namespace

PoolWindow::PoolWindow(std::int64_t of, std::int64_t step, std::int64_t border)
    : window(of), stride(step == 0 ? of : step), padding(border) {
  require(window > 0 && stride > 0, "pool: window ", window, " at stride ", stride, "; give at least 1 for each");
  require(padding >= 0 && padding < window, "pool: padding is ", padding, " for a window of ", window,
          "; give one smaller than the window, or some windows would hold nothing");
}

kernels::Pool2dShape PoolWindow::shape_for(const Shape& input, std::string_view who) const {
  const std::string name(who);
  require(input.rank() == 4, name, ": input is ", input.to_string(), "; pooling needs images [N, C, H, W]");
  require(window <= input[2] + 2 * padding && window <= input[3] + 2 * padding, name, ": a window of ", window,
          " does not fit the image of ", input.to_string(), " with padding ", padding,
          "; did the image size or an earlier stride change?");
  return {input[0] * input[1], input[2], input[3], window, window, stride, padding};
}

Shape PoolWindow::output_shape(const Shape& input, std::string_view who) const {
  const kernels::Pool2dShape shape = shape_for(input, who);
  return {input[0], input[1], shape.out_height(), shape.out_width()};
}

Tensor MaxPool2dFunction::forward(const Tensors& inputs, Context& context) const {
  const Tensor& x = inputs[0];
  const kernels::Pool2dShape shape = pool.shape_for(x.shape(), name());
  Tensor y = Tensor::empty(pool.output_shape(x.shape(), name()));  // [N, C, out height, out width]
  if (!context.recording) {
    kernels::max_pool2d_forward(shape, x.data<float>(), y.data<float>(), nullptr, current_stream());
    return y;
  }
  Tensor argmax = Tensor::empty(y.shape(), DType::u8);
  kernels::max_pool2d_forward(shape, x.data<float>(), y.data<float>(), argmax.data<std::uint8_t>(), current_stream());
  context.saved = {argmax};
  context.saved_shapes = {x.shape()};
  return y;
}

Tensors MaxPool2dFunction::backward(const Tensor& dy, const Context& context) const {
  Tensor dx = Tensor::empty(context.saved_shapes[0]);
  kernels::max_pool2d_backward(pool.shape_for(dx.shape(), name()), context.saved[0].data<std::uint8_t>(),
                               dy.data<float>(), dx.data<float>(), current_stream());
  return {dx};
}

Tensor AvgPool2dFunction::forward(const Tensors& inputs, Context& context) const {
  const Tensor& x = inputs[0];
  Tensor y = Tensor::empty(pool.output_shape(x.shape(), name()));
  kernels::average_pool2d_forward(pool.shape_for(x.shape(), name()), divisor, x.data<float>(), y.data<float>(),
                                  current_stream());
  if (context.recording) context.saved_shapes = {x.shape()};
  return y;
}

Tensors AvgPool2dFunction::backward(const Tensor& dy, const Context& context) const {
  Tensor dx = Tensor::empty(context.saved_shapes[0]);
  kernels::average_pool2d_backward(pool.shape_for(dx.shape(), name()), divisor, dy.data<float>(), dx.data<float>(),
                                   current_stream());
  return {dx};
}

MaxPool2d::MaxPool2d(std::int64_t window, const Pool2dOptions& options)
    : pool_(window, options.stride, options.padding) {
  require(window <= 15, "max_pool2d: window is ", window, "; at most 15, or the place of the maximum needs two bytes");
}

Variable MaxPool2d::operator()(const Variable& x) {
  pool_.shape_for(x.shape(), called(*this));
  return apply(std::make_shared<MaxPool2dFunction>(pool_), {x});
}

Description MaxPool2d::describe() const { return describe_window(kind(), pool_); }

AvgPool2d::AvgPool2d(std::int64_t window, const AvgPool2dOptions& options)
    : pool_(window, options.stride, options.padding), divisor_(options.divisor) {}

Variable AvgPool2d::operator()(const Variable& x) {
  pool_.shape_for(x.shape(), called(*this));
  return apply(std::make_shared<AvgPool2dFunction>(pool_, divisor_), {x});
}

Description AvgPool2d::describe() const {
  Description description = describe_window(kind(), pool_);
  description.attributes["divisor"] = std::string(words(divisor_));
  return description;
}

}  // namespace espalier
