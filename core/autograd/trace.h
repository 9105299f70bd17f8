// A model's run as a list of steps in execution order: what compile() rewrites and channel grouping reads.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "core/autograd/variable.h"

namespace espalier {

struct Trace {
  struct Value {
    Tensor tensor;          // as computed (or held, for a constant) by the traced run
    bool constant = false;  // a parameter or other leaf that is not the model's input
    int producer = -1;      // index of the step that makes it; -1 for the input and constants
  };
  struct Step {
    std::shared_ptr<const Function> function;
    std::vector<int> inputs;  // indices into values
    int output = -1;
  };
  std::vector<Value> values;
  std::vector<Step> steps;
  int input = -1, output = -1;
};

// Runs model(input) once with recording on and lists what led from the input to the output.
// Throws InvalidArgument when the output does not depend on the input.
Trace trace(const std::function<Variable(const Variable&)>& model, const Tensor& input);

}  // namespace espalier
