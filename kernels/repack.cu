// One thread an element of the result, which is written in order.
#include "kernels/repack.h"

#include "kernels/grid.h"

namespace espalier::kernels {
namespace {

template <class T>
__global__ void repack_kernel(Repacking r, const T* __restrict__ x, T* __restrict__ y) {
  for_each_element(r.result_size(), [&](index_t i) {
    index_t rest = i / r.padded, from = 0;
    const index_t last = i - rest * r.padded;
#pragma unroll
    for (int axis = 3; axis >= 0; --axis) {
      const index_t above = rest / r.sizes[axis];
      from += (rest - above * r.sizes[axis]) * r.strides[axis];
      rest = above;
    }
    y[i] = last < r.sizes[4] ? x[from + last * r.strides[4]] : from_float<T>(0.0f);
  });
}

}  // namespace

template <class T>
void repack(const Repacking& repacking, const T* x, T* y, cudaStream_t stream) {
  const index_t count = repacking.result_size();
  if (count > 0) simt::launch(repack_kernel<T>, elements_grid(count, stream), repacking, x, y);
}

template void repack(const Repacking&, const float*, float*, cudaStream_t);
template void repack(const Repacking&, const half*, half*, cudaStream_t);
template void repack(const Repacking&, const bfloat16*, bfloat16*, cudaStream_t);

}  // namespace espalier::kernels
