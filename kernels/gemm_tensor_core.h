// The dense matrix product of gemm.h on tensor cores: operands in tf32, fp16 or bf16, sums and epilogue in fp32.
// 2 m n k flops at 8 (tf32) to 16 (16 bits) times the rate of fp32 on an A100, for half or a quarter less traffic; the
// error of a product is that of rounding its operands (2^-11 tf32 and fp16, 2^-8 bf16). mma.sync out of shared memory
// that ldmatrix reads through an XOR swizzle and cp.async fills in a ring of three steps (tensor_core_product.h). The
// layout of fragments: PTX ISA, "Matrix multiply-accumulate operation using mma instruction". Every size and alignment
// is right; rows of operands that begin at multiples of 16 bytes are fast. Deterministic.
//
// Compute capability 7.5 has fp16 only: there tf32 and bf16 are refused, with the fix in the message.
#pragma once
#include "kernels/gemm.h"
#include "kernels/precision.h"

namespace espalier::kernels {

// `fastest` is the tensor cores on a GPU and, in the cpu build, the CPU's vectors on operands widened in the cache. The
// others are tensor cores (emulated in the cpu build): with the tiles that suit, with large or small ones, or with
// large ones that pass through registers, as compute capability 7.5 does, which has no cp.async.
enum class TensorCoreMethod { fastest, tensor_cores, large_tiles, small_tiles, staged_tiles };

// C [m, n] = activation(alpha * op(A) * op(B) + beta * C + bias). <In, Out> are <float, float> for operands that
// round_to_tf32() has rounded, <half, float>, <half, half>, <bfloat16, float> or <bfloat16, bfloat16>.
template <class In, class Out>
void gemm_tensor_core(const GemmShape& shape, Transpose transpose_a, Transpose transpose_b, const In* a, const In* b,
                      Out* c, const GemmEpilogue& epilogue, cudaStream_t stream, Workspace workspace = {},
                      TensorCoreMethod method = TensorCoreMethod::fastest);

// The workspace it would make use of, to split k where C is small; 0 for most shapes.
index_t gemm_tensor_core_workspace_floats(const GemmShape& shape, TensorCoreMethod method = TensorCoreMethod::fastest);

// Whether the current device (or rather the code that was compiled for it) multiplies this format on tensor cores.
bool has_tensor_cores_for(Precision precision);

}  // namespace espalier::kernels
