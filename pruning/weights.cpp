#include "pruning/weights.h"

#include <algorithm>

#include "kernels/require.h"

namespace espalier::pruning {

std::string names_of(Module& model) {
  std::string names;
  for (const Parameter* parameter : model.parameters()) names += " " + parameter->name;
  return names;
}

std::vector<Parameter*> weights_of(Module& model, const std::vector<std::string>& ignore) {
  std::vector<Parameter*> found;
  std::size_t ignored = 0;
  for (Parameter* parameter : model.parameters()) {
    if (std::find(ignore.begin(), ignore.end(), parameter->name) != ignore.end()) {
      ++ignored;
    } else if (parameter->value.shape().rank() >= 2) {
      found.push_back(parameter);
    }
  }
  require(ignored == ignore.size(), "pruning: ", ignore.size() - ignored,
          " of the ignored names belong to no parameter; there are", names_of(model));
  return found;
}

}  // namespace espalier::pruning
