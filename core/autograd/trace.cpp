#include "core/autograd/trace.h"

#include <unordered_map>

#include "core/autograd/topological_order.h"
#include "kernels/require.h"

namespace espalier {

Trace trace(const std::function<Variable(const Variable&)>& model, const Tensor& input) {
  const Variable start(input, Gradient::required);  // so that every step from the input on is recorded
  const Variable result = model(start);
  Trace traced;
  std::unordered_map<const Variable::Node*, int> index;
  for (const Variable::Node* node : topological_order(result)) {
    const int value = int(traced.values.size());
    index[node] = value;
    const bool is_input = node == start.node().get();
    traced.values.push_back({node->value, !node->function && !is_input, -1});
    if (is_input) traced.input = value;
    if (!node->function) continue;
    Trace::Step step{node->function, {}, value};
    for (const Variable& from : node->inputs) step.inputs.push_back(index.at(from.node().get()));
    traced.values.back().producer = int(traced.steps.size());
    traced.steps.push_back(std::move(step));
  }
  require(traced.input >= 0, "trace: the output does not depend on the input");
  traced.output = index.at(result.node().get());
  return traced;
}

}  // namespace espalier
