// 2:4 for mma.sp from a dense weight and back: one thread per metadata word, that is per 2 x 16 weights (tf32: 2 x 8).
// Bound by the read of the dense weight.
#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/sparse/two_four_places.h"
#include "kernels/sparse/two_four_tensor_core.h"

namespace espalier::kernels {
namespace {

// What a metadata word describes: rows `row` and row + 8, four groups from `column` on.
template <class T>
struct WordPlace {
  using View = TwoFourTensorView<T>;
  index_t row, column;
  __device__ WordPlace(const View& view, index_t word) {
    const index_t fragment = word % View::kFragments, lane = word / View::kFragments % 32;
    const index_t step = word / (View::kFragments * 32) % view.steps();
    const index_t tile = word / (View::kFragments * 32) / view.steps();
    row = (tile * View::kFragments + fragment) * View::kFragmentRows + lane / 4;
    column = step * View::kStep + lane % 4 * (4 * View::kGroup);
  }
};

template <class T>
__device__ inline unsigned nibble_of(unsigned first, unsigned second) {
  return sizeof(T) == 4 ? (first == 0 ? 0x4u : 0xEu) : first | second << 2;
}

template <class T>
__global__ void two_four_tensor_encode_kernel(TwoFourTensorView<T> view, const float* __restrict__ weight,
                                              T* __restrict__ values, std::uint32_t* __restrict__ metadata,
                                              std::int32_t* __restrict__ violations) {
  using View = TwoFourTensorView<T>;
  const index_t word = index_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (word >= view.metadata_size()) return;
  const WordPlace<T> at(view, word);
  std::uint32_t places = 0;
  int broken = 0;
  for (int g = 0; g < 8; ++g) {
    const index_t row = at.row + g / 4 * 8, column = at.column + g % 4 * View::kGroup;
    float group[View::kGroup];
    int nonzeros = 0;
#pragma unroll
    for (int i = 0; i < View::kGroup; ++i) {
      const bool inside = row < view.rows && column + i < view.columns;
      group[i] = inside ? weight[row * view.columns + column + i] : 0.0f;
      nonzeros += group[i] != 0.0f;
    }
    broken += nonzeros > View::kKept;
    const unsigned chosen = choose_places<View::kKept>(group);
    unsigned place[2] = {0, 0};
    int kept = 0;
    T* to = values + (row * view.padded_columns() + column) / 2;
#pragma unroll
    for (int i = 0; i < View::kGroup; ++i) {
      if (!(chosen >> i & 1u)) continue;
      place[kept] = unsigned(i);
      to[kept++] = from_float<T>(sizeof(T) == 4 ? round_to_tf32(group[i]) : group[i]);
    }
    places |= nibble_of<T>(place[0], place[1]) << (4 * g);
  }
  metadata[word] = places;
  if (broken > 0) atomicAdd(violations, broken);  // integers: the order of additions does not show
}

template <class T>
__global__ void two_four_tensor_decode_kernel(TwoFourTensorView<T> view, float* __restrict__ weight) {
  using View = TwoFourTensorView<T>;
  const index_t word = index_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (word >= view.metadata_size()) return;
  const WordPlace<T> at(view, word);
  for (int g = 0; g < 8; ++g) {
    const index_t row = at.row + g / 4 * 8, column = at.column + g % 4 * View::kGroup;
    const unsigned nibble = view.metadata[word] >> (4 * g) & 15u;
    for (int i = 0; i < View::kGroup; ++i) {
      if (row >= view.rows || column + i >= view.columns) continue;
      const T* from = view.values + (row * view.padded_columns() + column) / 2;
      float value = 0.0f;
      if constexpr (sizeof(T) == 4) {
        if (int(nibble == 0xE) == i) value = *from;
      } else {
        if (int(nibble & 3) == i) value = to_float(from[0]);
        if (int(nibble >> 2) == i) value = to_float(from[1]);
      }
      weight[row * view.columns + column + i] = value;
    }
  }
}

}  // namespace

template <class T>
void two_four_tensor_encode(const WeightShape& shape, const float* weight, T* values, std::uint32_t* metadata,
                            std::int32_t* violations, cudaStream_t stream) {
  require(shape.rows > 0 && shape.columns > 0, "two_four_tensor_encode: the weight is ", shape.rows, " x ",
          shape.columns, "; both must be at least 1");
  const cudaError_t status = cudaMemsetAsync(violations, 0, sizeof(std::int32_t), stream);
  if (status != cudaSuccess) throw simt::LaunchError(std::string("two_four: memset: ") + cudaGetErrorString(status));
  const TwoFourTensorView<T> layout{shape.rows, shape.columns};
  simt::launch(two_four_tensor_encode_kernel<T>, one_thread_per(layout.metadata_size(), stream), layout, weight, values,
               metadata, violations);
}

template <class T>
void two_four_tensor_decode(const TwoFourTensorView<T>& view, float* weight, cudaStream_t stream) {
  simt::launch(two_four_tensor_decode_kernel<T>, one_thread_per(view.metadata_size(), stream), view, weight);
}

template void two_four_tensor_encode(const WeightShape&, const float*, half*, std::uint32_t*, std::int32_t*,
                                     cudaStream_t);
template void two_four_tensor_encode(const WeightShape&, const float*, bfloat16*, std::uint32_t*, std::int32_t*,
                                     cudaStream_t);
template void two_four_tensor_encode(const WeightShape&, const float*, float*, std::uint32_t*, std::int32_t*,
                                     cudaStream_t);
template void two_four_tensor_decode(const TwoFourTensorView<half>&, float*, cudaStream_t);
template void two_four_tensor_decode(const TwoFourTensorView<bfloat16>&, float*, cudaStream_t);
template void two_four_tensor_decode(const TwoFourTensorView<float>&, float*, cudaStream_t);

}  // namespace espalier::kernels
