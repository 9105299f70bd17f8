// The recorded nodes that a result depends on, inputs before users.
#pragma once
#include <vector>

#include "core/autograd/variable.h"

namespace espalier {

std::vector<Variable::Node*> topological_order(const Variable& result);

}  // namespace espalier
