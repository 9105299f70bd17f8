// Dense matrix product: C [m, n] = activation(alpha * op(A) [m, k] * op(B) [k, n] + beta * C + bias), row-major.
// 2 m n k flops for 4 (m k + k n + m n) bytes: compute bound as soon as all three sizes exceed about 64. Register tiles
// out of double-buffered shared memory (gemm_tile.h), after siboehm's and salykova's ladders to 90-100 % of cuBLAS;
// long thin products split k (tiled_product.h). Deterministic: each sum has one order, whatever the thread count.
#pragma once
#include "kernels/activation.h"
#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

enum class Transpose { no, yes };  // yes: the matrix lies in memory as [k, m] (A), [n, k] (B)
enum class BiasAxis { row, column };

// What happens to the product on its way to C. beta == 0 never reads C. none, relu and leaky_relu cost nothing; gelu,
// sigmoid and tanh are a second pass over C (8 bytes per element), since the product has no registers left for them.
struct GemmEpilogue {
  float alpha = 1.0f, beta = 0.0f;
  const float* bias = nullptr;      // [m] or [n], by bias_axis
  const float* residual = nullptr;  // [m, n], one more term before the activation
  BiasAxis bias_axis = BiasAxis::column;
  Activation activation = Activation::none;
  float leaky_slope = kDefaultLeakySlope;
  const float* gate = nullptr;  // [m, n], last of all: where it is not above zero, the result times gate_slope, which
  float gate_slope = 0.0f;      // is the backward of relu (leaky_relu) when gate is what that gave
  float* row_sums = nullptr;    // [m] = op(A) * 1: the bias gradient db beside dw = dy^T x, since op(A) is dy^T
};

// Tiles of C per block. `automatic` weighs size against count (and has the CPU's own tiles in the cpu build). `thin` is
// no tile but one warp per dot product, for up to 8 rows of A by B transposed; elsewhere it means `small`.
enum class GemmTile { automatic, thin, small, medium, large };

// Without a workspace k is not split, and a product with a small C leaves part of the device idle.
void gemm(const GemmShape& shape, Transpose transpose_a, Transpose transpose_b, const float* a, const float* b,
          float* c, const GemmEpilogue& epilogue, cudaStream_t stream, Workspace workspace = {},
          GemmTile tile = GemmTile::automatic);

// The workspace that gemm() would make use of; 0 for most shapes.
index_t gemm_workspace_floats(const GemmShape& shape, GemmTile tile = GemmTile::automatic);

// One product with all its arguments.
struct GemmCall {
  GemmShape shape;
  Transpose transpose_a = Transpose::no, transpose_b = Transpose::no;
  const float *a = nullptr, *b = nullptr;
  float* c = nullptr;
  GemmEpilogue epilogue = {};
};

// Two products, neither an operand of the other: dx = dy W and dw = dy^T x with db of a dense layer, for example.
// One launch where the first has no transpose and the second a transposed A, as those have; with arrival counters in
// the workspace also where k is split. Otherwise one after the other.
void gemm_pair(const GemmCall& first, const GemmCall& second, cudaStream_t stream, Workspace workspace = {},
               GemmTile tile = GemmTile::automatic);
index_t gemm_pair_workspace_floats(const GemmCall& first, const GemmCall& second, GemmTile tile = GemmTile::automatic);

// C = activation(C + bias): what is left to do after a vendor's product.
void gemm_epilogue(const GemmShape& shape, const GemmEpilogue& epilogue, float* c, cudaStream_t stream);

}  // namespace espalier::kernels
