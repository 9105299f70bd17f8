#include "core/autograd/topological_order.h"

#include <unordered_set>
#include <utility>

namespace espalier {

std::vector<Variable::Node*> topological_order(const Variable& result) {
  using Node = Variable::Node;
  std::vector<Node*> order;
  std::unordered_set<const Node*> seen{result.node().get()};
  std::vector<std::pair<Node*, std::size_t>> path{{result.node().get(), 0}};  // node, next input to visit
  while (!path.empty()) {
    auto& [node, next] = path.back();
    if (next == node->inputs.size()) {
      order.push_back(node);
      path.pop_back();
      continue;
    }
    Node* const input = node->inputs[next++].node().get();
    if (seen.insert(input).second) path.emplace_back(input, 0);
  }
  return order;
}

}  // namespace espalier
