// gemm_tensor_core() for operands in fp16, the format of compute capability 7.5 too.
#include "kernels/gemm_tensor_core_launch.h"

namespace espalier::kernels {

template void gemm_tensor_core(const GemmShape&, Transpose, Transpose, const half*, const half*, float*,
                               const GemmEpilogue&, cudaStream_t, Workspace, TensorCoreMethod);
template void gemm_tensor_core(const GemmShape&, Transpose, Transpose, const half*, const half*, half*,
                               const GemmEpilogue&, cudaStream_t, Workspace, TensorCoreMethod);

}  // namespace espalier::kernels
