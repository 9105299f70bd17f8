#include "core/autograd/variable.h"

#include <string>

#include "core/autograd/place.h"
#include "kernels/require.h"
#include "kernels/simt/range.h"

namespace espalier {
namespace {

thread_local bool recording = true;

// Runs the node's function over the inputs' values, in a range called after the layer.
void run_forward(const Function& function, const Tensors& values, Variable::Node& node) {
  const std::string_view place = current_place().empty() ? function.name() : current_place();
  const simt::Range range("layer", place, "forward");
  node.value = function.forward(values, node.context);
  if (node.context.recording && simt::Range::wanted()) node.place = place;
}

}  // namespace

Variable::Node::~Node() {
  std::vector<Variable> pending = std::move(inputs);
  while (!pending.empty()) {
    const Variable last = std::move(pending.back());
    pending.pop_back();
    const auto& node = last.node();
    if (!node || node.use_count() > 1) continue;
    for (Variable& input : node->inputs) pending.push_back(std::move(input));
    node->inputs.clear();
  }
}

Variable::Variable(Tensor value) : Variable(std::move(value), Gradient::none) {}

Variable::Variable(Tensor value, Gradient gradient) : node_(std::make_shared<Node>()) {
  node_->value = std::move(value);
  node_->requires_gradient = gradient == Gradient::required;
}

const Tensor& Variable::value() const {
  require(node_ != nullptr, "this variable was never given a value");
  return node_->value;
}

void Variable::set_value(Tensor value) {
  require(node_ && !node_->function, "only a leaf can be given a new value");
  require(value.shape() == shape(), "set_value: ", value.shape().to_string(), " given for ", shape().to_string());
  node_->value = std::move(value);
}

bool Variable::requires_gradient() const { return node_ && node_->requires_gradient; }
bool Variable::has_gradient() const { return node_ && node_->gradient.defined(); }

const Tensor& Variable::gradient() const {
  require(has_gradient(), "this variable has no gradient yet: call backward() on a result that depends on it");
  return node_->gradient;
}

void Variable::set_gradient(Tensor gradient) {
  require(gradient.shape() == shape(), "set_gradient: ", gradient.shape().to_string(), " given for a value of shape ",
          shape().to_string());
  node_->gradient = std::move(gradient);
}

void Variable::clear_gradient() {
  if (node_) node_->gradient = Tensor();
}

Variable apply(std::shared_ptr<const Function> function, const std::vector<Variable>& inputs) {
  Tensors values;
  std::vector<bool> needs;
  bool record = false;
  for (const Variable& input : inputs) {
    values.push_back(input.value());
    needs.push_back(recording && input.requires_gradient());
    record = record || needs.back();
  }
  auto node = std::make_shared<Variable::Node>();
  node->context.recording = record;
  node->context.needs_gradient = std::move(needs);
  run_forward(*function, values, *node);
  if (record) {
    node->requires_gradient = true;
    node->function = std::move(function);
    node->inputs = inputs;
  } else {
    node->context = {};
  }
  return Variable(std::move(node));
}

NoGradient::NoGradient() : previous_(recording) { recording = false; }
NoGradient::~NoGradient() { recording = previous_; }

}  // namespace espalier
