// V:N:M from a dense weight and back: first which columns each group of rows keeps, a warp for each window; then those
// columns side by side, which the encoder of 2:4 takes. Bound by two reads of the dense weight.
#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/sparse/two_four_tensor_core.h"
#include "kernels/sparse/vnm_tensor_core.h"

namespace espalier::kernels {
namespace {

constexpr int kWarps = 8;

// The columns of a window with a nonzero, then its first free ones: four, ascending.
template <class T>
__global__ void vnm_columns_kernel(VnmTensorView<T> layout, const float* __restrict__ weight,
                                   std::int32_t* __restrict__ column_indices, VnmViolations* __restrict__ violations) {
  constexpr int kKept = VnmTensorView<T>::kKept;
  const index_t at = index_t(blockIdx.x) * kWarps + threadIdx.y, slots = layout.kept.padded_columns() / kKept;
  if (at >= layout.groups() * slots) return;
  const index_t group = at / slots, window = at % slots, first = window * layout.window;
  const int lane = int(threadIdx.x);
  const index_t left = layout.columns - first;
  const int width = int(left < layout.window ? left : layout.window);
  std::int32_t* to = column_indices + at * kKept;
  if (width <= 0) {
    if (lane < kKept) to[lane] = 0;
    return;
  }
  bool used = false;
  for (index_t row = group * layout.height; row < (group + 1) * layout.height && row < layout.rows; ++row) {
    if (lane < width) used |= weight[row * layout.columns + first + lane] != 0.0f;
  }
  unsigned chosen = __ballot_sync(~0u, used);
  if (__popc(chosen) > kKept && lane == 0) atomicAdd(&violations->windows, 1);  // integers: no order shows
  for (int i = 0; i < width && __popc(chosen) < kKept; ++i) chosen |= 1u << i;
  const int place = __popc(chosen & ((1u << lane) - 1));
  if ((chosen >> lane & 1u) && place < kKept) to[place] = std::int32_t(first) + lane;
  if (lane < kKept && lane >= width) to[lane] = std::int32_t(first) + width - 1;
}

// Whether a slot holds a column of its own, and none of a short window's repetitions.
template <class T>
__device__ inline bool is_own(const VnmTensorView<T>& layout, index_t slot) {
  constexpr int kKept = VnmTensorView<T>::kKept;
  return slot / kKept * layout.window + slot % kKept < layout.columns;
}

template <class T>
__global__ void vnm_keep_kernel(VnmTensorView<T> layout, const float* __restrict__ weight, float* __restrict__ kept) {
  for_each_element(layout.rows * layout.kept_columns(), [&](index_t i) {
    const index_t row = i / layout.kept_columns(), slot = i % layout.kept_columns();
    const index_t column = layout.column_indices[row / layout.height * layout.kept.padded_columns() + slot];
    kept[i] = is_own(layout, slot) ? weight[row * layout.columns + column] : 0.0f;
  });
}

template <class T>
__global__ void vnm_spread_kernel(VnmTensorView<T> view, const float* __restrict__ kept, float* __restrict__ weight) {
  for_each_element(view.rows * view.kept_columns(), [&](index_t i) {
    const index_t row = i / view.kept_columns(), slot = i % view.kept_columns();
    const index_t column = view.column_indices[row / view.height * view.kept.padded_columns() + slot];
    if (is_own(view, slot)) weight[row * view.columns + column] = kept[i];
  });
}

void clear(void* to, std::size_t bytes, cudaStream_t stream) {
  const cudaError_t status = cudaMemsetAsync(to, 0, bytes, stream);
  if (status != cudaSuccess) throw simt::LaunchError(std::string("v:n:m: memset: ") + cudaGetErrorString(status));
}

}  // namespace

template <class T>
void vnm_tensor_encode(const VnmTensorView<T>& layout, const float* weight, float* scratch,
                       std::int32_t* column_indices, T* values, std::uint32_t* metadata, VnmViolations* violations,
                       cudaStream_t stream) {
  require(layout.rows > 0 && layout.columns > 0, "vnm_tensor_encode: the weight is ", layout.rows, " x ",
          layout.columns, "; both must be at least 1");
  require(is_vnm_height(layout.height), "vnm_tensor_encode: groups of ", layout.height,
          " rows; there are kernels for multiples of 64");
  require(layout.window >= layout.kKept && layout.window <= layout.kMaxWindow, "vnm_tensor_encode: windows of ",
          layout.window, " columns; they have 4 to 32");
  clear(violations, sizeof *violations, stream);
  const index_t warps = layout.groups() * (layout.kept.padded_columns() / layout.kKept);
  simt::launch(vnm_columns_kernel<T>, {dim3(unsigned(ceil_div<index_t>(warps, kWarps))), dim3(32, kWarps), 0, stream},
               layout, weight, column_indices, violations);
  VnmTensorView<T> with_columns = layout;
  with_columns.column_indices = column_indices;
  const index_t count = layout.rows * layout.kept_columns();
  simt::launch(vnm_keep_kernel<T>, elements_grid(count, stream), with_columns, weight, scratch);
  two_four_tensor_encode(WeightShape{layout.rows, layout.kept_columns()}, scratch, values, metadata,
                         &violations->groups, stream);
}

template <class T>
void vnm_tensor_decode(const VnmTensorView<T>& view, float* scratch, float* weight, cudaStream_t stream) {
  two_four_tensor_decode(view.kept, scratch, stream);
  clear(weight, sizeof(float) * std::size_t(view.rows * view.columns), stream);
  simt::launch(vnm_spread_kernel<T>, elements_grid(view.rows * view.kept_columns(), stream), view, scratch, weight);
}

template void vnm_tensor_encode(const VnmTensorView<half>&, const float*, float*, std::int32_t*, half*, std::uint32_t*,
                                VnmViolations*, cudaStream_t);
template void vnm_tensor_encode(const VnmTensorView<bfloat16>&, const float*, float*, std::int32_t*, bfloat16*,
                                std::uint32_t*, VnmViolations*, cudaStream_t);
template void vnm_tensor_encode(const VnmTensorView<float>&, const float*, float*, std::int32_t*, float*,
                                std::uint32_t*, VnmViolations*, cudaStream_t);
template void vnm_tensor_decode(const VnmTensorView<half>&, float*, float*, cudaStream_t);
template void vnm_tensor_decode(const VnmTensorView<bfloat16>&, float*, float*, cudaStream_t);
template void vnm_tensor_decode(const VnmTensorView<float>&, float*, float*, cudaStream_t);

}  // namespace espalier::kernels
