// gemm_tensor_core() for operands in tf32, rounded beforehand: the loop has no conversion.
#include "kernels/gemm_tensor_core_launch.h"

namespace espalier::kernels {

template void gemm_tensor_core(const GemmShape&, Transpose, Transpose, const float*, const float*, float*,
                               const GemmEpilogue&, cudaStream_t, Workspace, TensorCoreMethod);

}  // namespace espalier::kernels
