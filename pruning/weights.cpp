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
  const std::vector<Parameter*> all = model.parameters();
  for (const std::string& name : ignore) {
    const bool known =
        std::any_of(all.begin(), all.end(), [&](const Parameter* parameter) { return parameter->name == name; });
    require(known, "pruning: ", name, " is to be ignored, but is no parameter; there are", names_of(model));
  }
  std::vector<Parameter*> found;
  for (Parameter* parameter : all) {
    const bool ignored = std::find(ignore.begin(), ignore.end(), parameter->name) != ignore.end();
    if (!ignored && parameter->value.shape().rank() >= 2) found.push_back(parameter);
  }
  return found;
}

}  // namespace espalier::pruning
