// What there is to prune in a model: the weights of products.
#pragma once
#include <string>
#include <vector>

#include "layers/module.h"

namespace espalier::pruning {

// Parameters of two axes or more that `ignore` does not name, in the model's order. Throws InvalidArgument where a name
// is that of no parameter.
std::vector<Parameter*> weights_of(Module& model, const std::vector<std::string>& ignore = {});

std::string names_of(Module& model);  // of all parameters, for messages: " conv2d_1.weight conv2d_1.bias"

}  // namespace espalier::pruning
