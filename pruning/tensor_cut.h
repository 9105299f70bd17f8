// A tensor without some of its rows, columns, ...: what a layer, its mask and its moments become when channels fall.
#pragma once
#include <cstdint>
#include <vector>

#include "core/train/safetensors.h"

namespace espalier::pruning {

// Per axis the indices that stay, rising; an empty list, or none, is the whole axis.
using TensorCut = std::vector<std::vector<std::int64_t>>;

Shape shape_after(const Shape& shape, const TensorCut& cut);
StoredTensor apply_cut(const StoredTensor& tensor, const TensorCut& cut);  // of any element type

}  // namespace espalier::pruning
