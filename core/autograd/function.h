// One differentiable operation. The same object is a node of the autograd tape and a step of a compiled plan, so it
// has a name, carries its attributes as members and keeps nothing between calls but what it puts into the Context.
#pragma once
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
  bool needs(std::size_t input) const { return input >= needs_gradient.size() || needs_gradient[input]; }
};

struct Function {
  virtual std::string_view name() const = 0;  // NVTX range, error messages, plan printout
  virtual Tensor forward(const Tensors& inputs, Context& context) const = 0;
  // One gradient per input, each of its input's shape (or undefined where context.needs(i) is false).
  // Overwrites, never accumulates: adding contributions is the tape's work.
  virtual Tensors backward(const Tensor& output_gradient, const Context& context) const = 0;
  virtual ~Function() = default;
};

}  // namespace espalier
