// The walk of the tape: nodes in reverse topological order, found without recursion. Each node's gradient is complete
// when the walk reaches it, because all its uses come first.
#include <string>
#include <unordered_map>

#include "core/autograd/topological_order.h"
#include "core/autograd/variable.h"
#include "core/device/stream.h"
#include "kernels/elementwise.h"
#include "kernels/require.h"
#include "kernels/simt/range.h"

namespace espalier {
namespace {

using Node = Variable::Node;

// Moves the first contribution, adds the next. A moved tensor may be shared (an addition hands one gradient to both
// its inputs), so the sum goes to fresh memory instead of into the first contribution.
void accumulate(Tensor& gradient, Tensor contribution) {
  if (!gradient.defined()) {
    gradient = std::move(contribution);
    return;
  }
  Tensor sum = Tensor::like(gradient);
  kernels::add(sum.size(), gradient.data<float>(), contribution.data<float>(), sum.data<float>(), current_stream());
  gradient = std::move(sum);
}

void check_gradients(const Node& node, const Tensors& gradients) {
  const std::string name(node.function->name());
  require(gradients.size() == node.inputs.size(), name, ": backward returned ", gradients.size(), " gradients for ",
          node.inputs.size(), " inputs");
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    if (!node.context.needs_gradient[i]) continue;
    require(gradients[i].defined(), name, ": backward left the gradient of input ", i, " undefined");
    require(gradients[i].shape() == node.inputs[i].shape(), name, ": the gradient of input ", i, " has shape ",
            gradients[i].shape().to_string(), ", the input ", node.inputs[i].shape().to_string());
  }
}

using Uses = std::unordered_map<const Node*, int>;

Uses count_uses(const std::vector<Node*>& nodes) {
  Uses uses;
  for (const Node* node : nodes) {
    for (const Variable& input : node->inputs) ++uses[input.node().get()];
  }
  return uses;
}

// Leaves the last part of an input's backward, its activation, to this node where nobody else reads that input.
void take_over_slopes(Node& node, const Uses& uses) {
  if (!node.function->applies_input_slopes()) return;
  node.context.input_slopes.assign(node.inputs.size(), std::nullopt);
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    Node& input = *node.inputs[i].node();
    if (!input.function || !node.context.needs_gradient[i] || uses.at(&input) != 1) continue;
    node.context.input_slopes[i] = input.function->output_slope();
    input.context.slope_applied = node.context.input_slopes[i].has_value();
  }
}

// A node without a gradient is the result itself, whose gradient is 1.
void propagate(Node& node, const Uses& uses) {
  require(node.context.recording, std::string(node.function->name()),
          ": backward() was called twice through this result; run the model again first");
  take_over_slopes(node, uses);
  const simt::Range range("layer", node.place.empty() ? node.function->name() : std::string_view(node.place),
                          "backward");
  const Tensors gradients = node.gradient.defined()
                                ? node.function->backward(node.gradient, node.context)
                                : node.function->backward_from_one(node.value.shape(), node.context);
  check_gradients(node, gradients);
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    if (node.context.needs_gradient[i]) accumulate(node.inputs[i].node()->gradient, gradients[i]);
  }
  node.gradient = Tensor();  // only leaves keep theirs
  node.context = {};
  node.context.recording = false;
}

void walk(const Variable& result) {
  const std::vector<Node*> order = topological_order(result);
  const Uses uses = count_uses(order);
  for (auto node = order.rbegin(); node != order.rend(); ++node) {
    const bool reached = (*node)->gradient.defined() || *node == result.node().get();
    if ((*node)->function && reached) propagate(**node, uses);
  }
}

}  // namespace

void Variable::backward() {
  require(value().size() == 1, "backward() without a gradient needs a single number, not ", shape().to_string(),
          "; reduce it to a loss first or pass the gradient");
  if (!requires_gradient() || !node_->function) return backward(Tensor::full(shape(), 1.0f));
  walk(*this);
}

void Variable::backward(const Tensor& output_gradient) {
  require(requires_gradient(), "backward(): nothing here requires a gradient");
  require(output_gradient.shape() == shape(), "backward(): the gradient has shape ",
          output_gradient.shape().to_string(), ", the value ", shape().to_string());
  accumulate(node_->gradient, output_gradient);
  walk(*this);
}

}  // namespace espalier
