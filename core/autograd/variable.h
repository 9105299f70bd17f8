// A tensor that remembers the Function and inputs that made it: reverse-mode differentiation by a tape.
// Gradients accumulate over uses and over backward() calls until clear_gradient().
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/autograd/function.h"

namespace espalier {

enum class Gradient { none, required };

class Variable {
 public:
  Variable() = default;
  Variable(Tensor value);  // a constant: no gradient
  Variable(Tensor value, Gradient gradient);

  const Tensor& value() const;
  void set_value(Tensor value);  // a leaf only; same shape
  const Shape& shape() const { return value().shape(); }
  bool requires_gradient() const;
  bool has_gradient() const;
  const Tensor& gradient() const;  // throws InvalidArgument when there is none yet
  void set_gradient(Tensor gradient);
  void clear_gradient();
  // d(this)/d(every leaf); `this` must hold one element, or give the gradient of the output.
  // Frees the tape as it goes: a second backward() through it throws.
  void backward();
  void backward(const Tensor& output_gradient);

  struct Node;
  const std::shared_ptr<Node>& node() const { return node_; }

 private:
  explicit Variable(std::shared_ptr<Node> node) : node_(std::move(node)) {}
  friend Variable apply(std::shared_ptr<const Function>, const std::vector<Variable>&);
  std::shared_ptr<Node> node_;
};

struct Variable::Node {
  Tensor value, gradient;
  bool requires_gradient = false;
  std::shared_ptr<const Function> function;  // null for a leaf
  std::vector<Variable> inputs;
  Context context;
  std::string place = {};  // the layer, where somebody wants ranges
  ~Node();                 // iterative: a deep tape must not overflow the stack
};

// Runs forward and, when an input requires a gradient and recording is on, records the call on the tape.
Variable apply(std::shared_ptr<const Function> function, const std::vector<Variable>& inputs);

// While it lives, apply() records nothing on this thread: inference.
class NoGradient {
 public:
  NoGradient();
  ~NoGradient();
  NoGradient(const NoGradient&) = delete;
  NoGradient& operator=(const NoGradient&) = delete;

 private:
  bool previous_;
};

}  // namespace espalier
