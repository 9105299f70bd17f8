// gemm_tensor_core() for operands in bf16.
#include "kernels/gemm_tensor_core_launch.h"

namespace espalier::kernels {

template void gemm_tensor_core(const GemmShape&, Transpose, Transpose, const bfloat16*, const bfloat16*, float*,
                               const GemmEpilogue&, cudaStream_t, Workspace, TensorCoreMethod);
template void gemm_tensor_core(const GemmShape&, Transpose, Transpose, const bfloat16*, const bfloat16*, bfloat16*,
                               const GemmEpilogue&, cudaStream_t, Workspace, TensorCoreMethod);

}  // namespace espalier::kernels
