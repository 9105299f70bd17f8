// The products of a traced model: which weight each multiplies, what it reads and makes, and how often it uses each
// weight element for one image.
#pragma once
#include <cstdint>
#include <vector>

#include "core/autograd/trace.h"
#include "layers/module.h"

namespace espalier::pruning {

struct ProductStep {
  int step = -1;                // of the trace
  int input = -1, output = -1;  // values of the trace
  Tensor weight;                // shares the parameter's memory
  std::int64_t groups = 1;      // of a convolution
  std::int64_t uses = 1;        // of each weight element per image: the output pixels of a convolution
};

// In inference mode; the model's mode is put back afterwards.
Trace trace_inference(Module& model, const Tensor& input);
std::vector<ProductStep> product_steps(const Trace& trace);

// What the next layer reads of a product: the value behind its activation, or its output where none follows.
int activated_output(const Trace& trace, const ProductStep& product);

}  // namespace espalier::pruning
