// What a model holds, by name, on the host and at its full width, and the folding of constants into it.
#pragma once
#include <map>
#include <string>

#include "core/train/safetensors.h"
#include "layers/module.h"
#include "pruning/shrink_analysis.h"

namespace espalier::pruning {

struct ModelTensors {
  std::map<std::string, StoredTensor> values;  // parameters and buffers
  std::map<std::string, StoredTensor> masks;   // of the parameters that have one
};

ModelTensors tensors_of(Module& model);

// Carriers take over other constants, with unmasked weights for them; biases take what is left. A layer without a bias
// leaves it to the batch norm that alone reads it (its running mean falls by as much), or is given one: a value
// "conv2d_1.bias" that the model did not have.
void fold_constants(const ChannelGraph& graph, const Removal& removal, ModelTensors& tensors);

}  // namespace espalier::pruning
