// A dense layer with a pruned weight, y [batch, rows] = x [batch, columns] * W^T: what the cases of all sparse formats
// share.
#pragma once
#include <string>

#include "apps/benchmarks/case.h"
#include "apps/benchmarks/operands.h"

namespace espalier::benchmarks {

struct PrunedLayer {
  const char* name;
  std::int64_t batch, rows, columns;
  bool large = false;
  kernels::GemmShape gemm() const { return {batch, rows, columns}; }
};

struct LayerOperands {
  Tensor x, y;
  explicit LayerOperands(const PrunedLayer& layer)
      : x(random({layer.batch, layer.columns})), y(Tensor::empty({layer.batch, layer.rows})) {}
};

// The dense products over the same weight, ours and the vendor's.
void add_dense(Variants& variants, const PrunedLayer& layer, const LayerOperands& operands, const Tensor& weight);

// `kept` of the weights multiply; the format reads `weight_bytes` for each weight that there is, kept or not.
Case pruned_layer_case(const PrunedLayer& layer, const std::string& kernel, double kept, double weight_bytes,
                       Variants (*prepare)(const PrunedLayer&));

}  // namespace espalier::benchmarks
