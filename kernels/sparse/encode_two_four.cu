// 2:4 from a dense weight and back: one thread per metadata word, that is per 32 weights of a row. Bound by the read of
// the dense weight and the write of half of it. Layout: NVIDIA's sparse tensor cores want two 2-bit places per group,
// ascending and different (PTX ISA, mma.sp), so a group with fewer nonzeros keeps zeros at free places.
#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/simt/simt.h"
#include "kernels/sparse/encode.h"
#include "kernels/sparse/two_four_places.h"

namespace espalier::kernels {
namespace {

constexpr int kGroup = TwoFourView::kGroup, kKept = TwoFourView::kKept, kGroups = TwoFourView::kGroupsPerWord;

__device__ inline void load_group(const WeightShape& shape, const float* weight, index_t row, index_t first,
                                  float (&group)[kGroup]) {
#pragma unroll
  for (int i = 0; i < kGroup; ++i) {
    group[i] = first + i < shape.columns ? weight[row * shape.columns + first + i] : 0.0f;
  }
}

__global__ void two_four_violations_kernel(WeightShape shape, index_t groups_per_row, const float* __restrict__ weight,
                                           std::int32_t* __restrict__ violations) {
  std::int32_t found = 0;
  const index_t threads = index_t(gridDim.x) * blockDim.x, thread = index_t(blockIdx.x) * blockDim.x + threadIdx.x;
  for (index_t g = thread; g < shape.rows * groups_per_row; g += threads) {
    float group[kGroup];
    load_group(shape, weight, g / groups_per_row, g % groups_per_row * kGroup, group);
    int nonzeros = 0;
#pragma unroll
    for (int i = 0; i < kGroup; ++i) nonzeros += group[i] != 0.0f;
    found += nonzeros > kKept;
  }
  if (found > 0) atomicAdd(violations, found);  // integers: the order of additions does not show
}

__global__ void two_four_encode_kernel(WeightShape shape, index_t words_per_row, const float* __restrict__ weight,
                                       float* __restrict__ values, std::uint32_t* __restrict__ metadata) {
  const index_t word = index_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (word >= shape.rows * words_per_row) return;
  std::uint32_t places = 0;
  for (int g = 0; g < kGroups; ++g) {
    float group[kGroup];
    load_group(shape, weight, word / words_per_row, (word % words_per_row * kGroups + g) * kGroup, group);
    const unsigned chosen = choose_places<kKept>(group);
    int kept = 0;
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      if (!(chosen >> i & 1u)) continue;
      places |= std::uint32_t(i) << (4 * g + 2 * kept);
      values[(word * kGroups + g) * kKept + kept++] = group[i];
    }
  }
  metadata[word] = places;
}

__global__ void two_four_decode_kernel(TwoFourView view, float* __restrict__ weight) {
  const index_t word = index_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (word >= view.rows * view.words_per_row()) return;
  const index_t row = word / view.words_per_row(), first = word % view.words_per_row() * view.kColumnsPerWord;
  const std::uint32_t places = view.metadata[word];
  for (int i = 0; i < view.kColumnsPerWord && first + i < view.columns; ++i) {
    const int g = i / kGroup;
    float value = 0.0f;
#pragma unroll
    for (int k = 0; k < kKept; ++k) {
      if (int(places >> (4 * g + 2 * k) & 3u) == i % kGroup) value = view.values[(word * kGroups + g) * kKept + k];
    }
    weight[row * view.columns + first + i] = value;
  }
}

TwoFourView layout(const WeightShape& shape) { return {shape.rows, shape.columns, nullptr, nullptr}; }

}  // namespace

void two_four_violations(const WeightShape& shape, const float* weight, std::int32_t* violations, cudaStream_t stream) {
  const cudaError_t status = cudaMemsetAsync(violations, 0, sizeof(std::int32_t), stream);
  if (status != cudaSuccess) {
    throw simt::LaunchError(std::string("two_four_violations: memset: ") + cudaGetErrorString(status));
  }
  const index_t groups_per_row = ceil_div<index_t>(shape.columns, kGroup);
  simt::launch(two_four_violations_kernel, elements_grid(shape.rows * groups_per_row, stream), shape, groups_per_row,
               weight, violations);
}

void two_four_encode(const WeightShape& shape, const float* weight, float* values, std::uint32_t* metadata,
                     cudaStream_t stream) {
  require(shape.rows > 0 && shape.columns > 0, "two_four_encode: the weight is ", shape.rows, " x ", shape.columns,
          "; both must be at least 1");
  const index_t words_per_row = layout(shape).words_per_row();
  simt::launch(two_four_encode_kernel, one_thread_per(shape.rows * words_per_row, stream), shape, words_per_row, weight,
               values, metadata);
}

void two_four_decode(const TwoFourView& view, float* weight, cudaStream_t stream) {
  simt::launch(two_four_decode_kernel, one_thread_per(view.rows * view.words_per_row(), stream), view, weight);
}

}  // namespace espalier::kernels
