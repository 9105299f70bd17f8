// One differentiable operation. The same object is a node of the autograd tape and a step of a compiled plan, so it
// has a name, carries its attributes as members and keeps nothing between calls but what it puts into the Context.
#pragma once
#include <optional>
#include <string_view>
#include <vector>

#include "core/tensor/tensor.h"

namespace espalier {

// What one call of forward leaves for its backward.
struct Context {
  bool recording = true;  // false: no backward will come, save nothing
  Tensors saved = {};
  std::vector<Shape> saved_shapes = {};   // for a backward that needs extents but no values
  std::vector<bool> needs_gradient = {};  // one per input; backward may leave the others undefined
  // The slope of relu or leaky_relu below zero, for inputs whose maker leaves that part of its backward to this one:
  // the gradient of input i is to be multiplied by it where the input is not above zero. Empty: nothing is left to do.
  std::vector<std::optional<float>> input_slopes = {};
  bool slope_applied = false;  // the output gradient has been through this function's own activation already
  std::optional<float> input_slope(std::size_t i) const {
    return i < input_slopes.size() ? input_slopes[i] : std::nullopt;
  }
  bool needs(std::size_t input) const { return input >= needs_gradient.size() || needs_gradient[input]; }
};

// How channels (axis 1) go through a function: what pruning must know before it takes one away.
enum class ChannelFlow {
  mixed,     // an output may depend on all of them: none can be taken away
  separate,  // channel c of the output depends on nothing but channel c of the inputs
  uniform,   // separate, and a channel that is one number everywhere stays so
};

struct Function {
  virtual std::string_view name() const = 0;  // NVTX range, error messages, plan printout
  virtual Tensor forward(const Tensors& inputs, Context& context) const = 0;
  // One gradient per input, each of its input's shape (or undefined where context.needs(i) is false).
  // Overwrites, never accumulates: adding contributions is the tape's work.
  virtual Tensors backward(const Tensor& output_gradient, const Context& context) const = 0;
  // backward() where the gradient of the output, of one element, is 1. A loss overrides it: it has no launch to make.
  virtual Tensors backward_from_one(const Shape& output, const Context& context) const {
    return backward(Tensor::full(output, 1.0f), context);
  }
  // For a function that ends in relu or leaky_relu: the slope below zero. The tape may then hand the multiplication to
  // the only reader of the output, if that one applies slopes, which saves a pass over the gradient.
  virtual std::optional<float> output_slope() const { return std::nullopt; }
  virtual bool applies_input_slopes() const { return false; }
  // Of all inputs with a batch axis; inputs [C] beside them hold a number per channel.
  virtual ChannelFlow channel_flow() const { return ChannelFlow::mixed; }
  virtual ~Function() = default;
};

}  // namespace espalier
