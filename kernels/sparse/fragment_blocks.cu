// A block of threads fills a tile of rows: one of them walks along its columns and says where steps begin, then all
// bring values. Bound by reading the weight twice.
#include "kernels/sparse/fragment_blocks.h"

#include "kernels/grid.h"
#include "kernels/precision.h"
#include "kernels/require.h"
#include "kernels/sparse/scan_groups.h"

namespace espalier::kernels {
namespace {

constexpr int kThreads = simt::kContiguousElements ? 1 : 256;

// Where in the weight the i-th value of a fragment lies, counted from the fragment's first row and column.
struct ValuePlace {
  int row, column;
  template <class T>
  __device__ static ValuePlace of(int i) {
    constexpr int kWord = 4 / int(sizeof(T)), kValues = FragmentBlocksView<T>::kLaneValues;
    const int lane = i / kValues, word = i % kValues / kWord;
    return {lane / 4 + word % 2 * 8, word / 2 * 16 / int(sizeof(T)) + lane % 4 * kWord + i % kWord};
  }
};

template <class T>
__global__ void fragment_masks_kernel(FragmentBlocksView<T> layout, const float* __restrict__ weight,
                                      std::uint8_t* __restrict__ masks) {
  using View = FragmentBlocksView<T>;
  for_each_element(layout.tiles() * layout.fragment_columns(), [=](index_t i) {
    const index_t top = i / layout.fragment_columns() * layout.tile;
    const index_t left = i % layout.fragment_columns() * View::kColumns;
    unsigned mask = 0;
    for (index_t row = top; row < top + layout.tile && row < layout.rows; ++row) {
      for (index_t column = left; column < left + View::kColumns && column < layout.columns; ++column) {
        if (weight[row * layout.columns + column] != 0.0f) mask |= 1u << ((row - top) / View::kRows);
      }
    }
    masks[i] = std::uint8_t(mask);
  });
}

struct StepsOfTile {
  const std::uint8_t* masks;
  index_t columns;
  __device__ std::int32_t operator()(int tile) const {
    std::int32_t kept = 0;
    for (index_t i = tile * columns; i < (tile + 1) * columns; ++i) kept += masks[i] != 0;
    return (kept + 1) / 2;
  }
};

struct FragmentsOfTile {
  const std::uint8_t* masks;
  index_t columns;
  __device__ std::int32_t operator()(int tile) const {
    std::int32_t kept = 0;
    for (index_t i = tile * columns; i < (tile + 1) * columns; ++i) kept += __popc(masks[i]);
    return kept;
  }
};

template <class T>
__device__ void place_steps(const FragmentBlocksView<T>& layout, const std::uint8_t* masks, std::int32_t fragment,
                            std::int32_t* step_columns, FragmentStep* step_parts) {
  const int tile = int(blockIdx.x);
  index_t place = 2 * index_t(layout.step_offsets[tile]);  // in instructions
  for (index_t column = 0; column < layout.fragment_columns(); ++column) {
    const unsigned mask = masks[tile * layout.fragment_columns() + column];
    if (mask == 0) continue;
    FragmentStep& step = step_parts[place / 2];
    if (place % 2 == 0) {
      step = {fragment, mask};
      step_columns[place + 1] = -1;
    } else {
      step.kept |= mask << layout.groups();
    }
    step_columns[place++] = std::int32_t(column);
    fragment += __popc(mask);
  }
}

// visit(index of a value, row, column) of all values that the block's tile keeps.
template <class T, class Visit>
__device__ void for_each_kept(const FragmentBlocksView<T>& view, const std::int32_t* step_columns,
                              const FragmentStep* step_parts, const Visit& visit) {
  using View = FragmentBlocksView<T>;
  const int tile = int(blockIdx.x);
  for (int step = view.step_offsets[tile]; step < view.step_offsets[tile + 1]; ++step) {
    const FragmentStep part = step_parts[step];
    index_t fragment = part.first;
    for (int bit = 0; bit < 2 * view.groups(); ++bit) {
      if ((part.kept >> bit & 1u) == 0) continue;
      const index_t top = tile * view.tile + bit % view.groups() * View::kRows;
      const index_t left = index_t(step_columns[2 * step + bit / view.groups()]) * View::kColumns;
      for (int i = int(threadIdx.x); i < View::kFragment; i += kThreads) {
        const ValuePlace at = ValuePlace::of<T>(i);
        visit(fragment * View::kFragment + i, top + at.row, left + at.column);
      }
      ++fragment;
    }
  }
}

template <class T>
__global__ void fragment_blocks_fill_kernel(FragmentBlocksView<T> layout, const float* __restrict__ weight,
                                            const std::uint8_t* __restrict__ masks,
                                            const std::int32_t* __restrict__ fragment_offsets,
                                            std::int32_t* step_columns, FragmentStep* step_parts,
                                            T* __restrict__ values) {
  if (threadIdx.x == 0) place_steps(layout, masks, fragment_offsets[blockIdx.x], step_columns, step_parts);
  __syncthreads();
  for_each_kept(layout, step_columns, step_parts, [=](index_t i, index_t row, index_t column) {
    const bool inside = row < layout.rows && column < layout.columns;
    const float value = inside ? weight[row * layout.columns + column] : 0.0f;
    values[i] = from_float<T>(sizeof(T) == 4 ? round_to_tf32(value) : value);
  });
}

template <class T>
__global__ void fragment_blocks_decode_kernel(FragmentBlocksView<T> view, float* __restrict__ weight) {
  for_each_kept(view, view.step_columns, view.step_parts, [=](index_t i, index_t row, index_t column) {
    if (row < view.rows && column < view.columns) weight[row * view.columns + column] = to_float(view.values[i]);
  });
}

simt::Launch tiles_grid(index_t tiles, cudaStream_t stream,
                        std::source_location where = std::source_location::current()) {
  return {dim3(unsigned(tiles)), dim3(unsigned(kThreads)), 0, stream, where};
}

}  // namespace

template <class T>
void fragment_blocks_count(const FragmentBlocksView<T>& layout, const float* weight, std::uint8_t* masks,
                           std::int32_t* step_offsets, std::int32_t* fragment_offsets, cudaStream_t stream) {
  require(layout.rows > 0 && layout.columns > 0 && (layout.tile == 64 || layout.tile == 128),
          "fragment_blocks_count: weight ", layout.rows, " x ", layout.columns, " in tiles of ", layout.tile,
          " rows; needs at least 1 of both, and tiles of 64 or 128");
  simt::launch(fragment_masks_kernel<T>, elements_grid(layout.tiles() * layout.fragment_columns(), stream), layout,
               weight, masks);
  scan_groups(layout.tiles(), StepsOfTile{masks, layout.fragment_columns()}, step_offsets, stream);
  scan_groups(layout.tiles(), FragmentsOfTile{masks, layout.fragment_columns()}, fragment_offsets, stream);
}

template <class T>
void fragment_blocks_fill(const FragmentBlocksView<T>& layout, const float* weight, const std::uint8_t* masks,
                          const std::int32_t* fragment_offsets, std::int32_t* step_columns, FragmentStep* step_parts,
                          T* values, cudaStream_t stream) {
  simt::launch(fragment_blocks_fill_kernel<T>, tiles_grid(layout.tiles(), stream), layout, weight, masks,
               fragment_offsets, step_columns, step_parts, values);
}

template <class T>
void fragment_blocks_decode(const FragmentBlocksView<T>& view, float* weight, cudaStream_t stream) {
  const auto bytes = sizeof(float) * std::size_t(view.rows * view.columns);
  const cudaError_t status = cudaMemsetAsync(weight, 0, bytes, stream);
  if (status != cudaSuccess) throw simt::LaunchError(std::string("decode: memset: ") + cudaGetErrorString(status));
  simt::launch(fragment_blocks_decode_kernel<T>, tiles_grid(view.tiles(), stream), view, weight);
}

template void fragment_blocks_count(const FragmentBlocksView<half>&, const float*, std::uint8_t*, std::int32_t*,
                                    std::int32_t*, cudaStream_t);
template void fragment_blocks_fill(const FragmentBlocksView<half>&, const float*, const std::uint8_t*,
                                   const std::int32_t*, std::int32_t*, FragmentStep*, half*, cudaStream_t);
template void fragment_blocks_decode(const FragmentBlocksView<half>&, float*, cudaStream_t);
template void fragment_blocks_count(const FragmentBlocksView<bfloat16>&, const float*, std::uint8_t*, std::int32_t*,
                                    std::int32_t*, cudaStream_t);
template void fragment_blocks_fill(const FragmentBlocksView<bfloat16>&, const float*, const std::uint8_t*,
                                   const std::int32_t*, std::int32_t*, FragmentStep*, bfloat16*, cudaStream_t);
template void fragment_blocks_decode(const FragmentBlocksView<bfloat16>&, float*, cudaStream_t);
template void fragment_blocks_count(const FragmentBlocksView<float>&, const float*, std::uint8_t*, std::int32_t*,
                                    std::int32_t*, cudaStream_t);
template void fragment_blocks_fill(const FragmentBlocksView<float>&, const float*, const std::uint8_t*,
                                   const std::int32_t*, std::int32_t*, FragmentStep*, float*, cudaStream_t);
template void fragment_blocks_decode(const FragmentBlocksView<float>&, float*, cudaStream_t);

}  // namespace espalier::kernels
