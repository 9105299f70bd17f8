#include "kernels/sparse/narrow_operand.h"

#include "kernels/precision.h"

namespace espalier::kernels {
namespace {

// A block for each row.
template <class T>
__global__ void narrow_operand_kernel(index_t columns, index_t padded, const float* __restrict__ x,
                                      T* __restrict__ operand) {
  const float* const from = x + blockIdx.x * columns;
  T* const to = operand + blockIdx.x * padded;
  for (index_t i = threadIdx.x; i < padded; i += blockDim.x) {
    const float value = i < columns ? from[i] : 0.0f;
    to[i] = from_float<T>(sizeof(T) == 4 ? round_to_tf32(value) : value);
  }
}

}  // namespace

template <class T>
void narrow_operand(index_t batch, index_t columns, index_t padded, const float* x, T* operand, cudaStream_t stream) {
  simt::launch(narrow_operand_kernel<T>, {dim3(unsigned(batch)), dim3(simt::kElementThreads), 0, stream}, columns,
               padded, x, operand);
}

template void narrow_operand(index_t, index_t, index_t, const float*, half*, cudaStream_t);
template void narrow_operand(index_t, index_t, index_t, const float*, bfloat16*, cudaStream_t);
template void narrow_operand(index_t, index_t, index_t, const float*, float*, cudaStream_t);

}  // namespace espalier::kernels
