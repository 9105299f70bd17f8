// C [64 or 128 filters, 128 pixels] of a block, 64 x 64 to each of its warps: a fragment of W that is not there is
// skipped by a whole warp, whose four groups of 16 filters take turns. A step brings, by cp.async into a ring of shared
// tiles, 64 bytes of each pixel's patch (two units of channels that any of the groups keeps) and those fragments of W
// that there are, in the order of an instruction's registers: a lane's part is one 128-bit load, 8 HMMA use it.
// On sm_80 the loop has 245 instructions for a step that keeps all, 64 of them HMMA (26 %), 8 cp.async with their
// addresses for the patches and up to 4 for W; no spills. Emulated, the wavefronts of shared memory are the ideal ones,
// sectors read 0.83 to 0.91 of those that a copy of padding, too, would read.
// Modelled, batch 32, us from images in nhwc where 50, 75 and 90 % of the blocks of 16 are zero, beside the dense
// tensor-core convolution: fp16, 256 -> 256 at 14 x 14, A100 31, 26, 15 and 39, RTX 4090 37, 22, 14 and 68; 128 -> 128
// at 28 x 28, 27, 22, 15 and 36, 34, 25, 24 and 66; tf32, 256 -> 256, 58, 47, 25 and 73, 71, 41, 20 and 132. Blocks of
// 32 gain more: 29, 19, 11 of the first 39. A100 is bound by shared memory and RTX 4090 by tensor cores, then DRAM.
#include "kernels/sparse/block_conv2d.h"

#include <type_traits>

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/sparse/patch_convolution.h"

namespace espalier::kernels {
namespace {

constexpr index_t kFewBlocks = 80;  // of 128 filters: with less, multiprocessors are left without any
// Modelled, A100, 256 -> 256 at 14 x 14, batch 32, fp16, blocks of 16, tiles of 128 rows and of 64, us: 31 and 37 where
// half of them is kept, 26 and 26 a quarter, 17 and 15 a tenth, whose columns few rows of a tile share.
constexpr double kMuchKept = 0.3;

// 36 or 48 KiB of shared memory: eight warps on a multiprocessor of compute capability 8.0.
template <int kRows>
struct BlockConvTile {
  static constexpr int kM = kRows, kN = 128, kWarpM = 64, kWarpN = 64, kThreads = kRows, kStages = 3;
  static constexpr int kBlocks = 256 / kRows;
};

template <class T, class Tile>
struct BlockConvBlock {
  using View = FragmentBlocksView<T>;
  using FragmentsB = FragmentLoader<T, Side::b, Tile::kN, Tile::kWarpN, Along::depth>;
  struct FragmentsA {
    static constexpr int kFragments = Tile::kWarpM / View::kRows;
  };
  struct TileA {
    static constexpr bool kPaired = false;  // rows of an instruction are rows of C
  };
  using Sums = float[FragmentsA::kFragments][FragmentsB::kFragments][4];
  static constexpr int kFragmentBytes = 512, kGroups = Tile::kM / View::kRows;
  static constexpr int kBytesA = 2 * kGroups * kFragmentBytes;
  static constexpr int kStage = kBytesA + Tile::kN * kStepBytes, kSharedBytes = kStage * Tile::kStages;

  __device__ static int warp_row() { return int(threadIdx.x) / 64 * Tile::kWarpM; }
  __device__ static int warp_column() { return int(threadIdx.x) / 32 % 2 * Tile::kWarpN; }
};

// The tiles of a step: first the fragments of W, then the patches.
template <class T, class Tile, ConvPool kPool>
class BlockConvFeed {
  using Block = BlockConvBlock<T, Tile>;
  using Pixels = PatchPixels<T, Tile, kPool>;
  static constexpr int kWarps = Tile::kThreads / 32, kMost = 2 * Block::kGroups;

 public:
  __device__ BlockConvFeed(const FragmentBlocksView<T>& weight, int first, const GatherView<T>& x, const PatchTap* taps,
                           index_t pixel, unsigned group)
      : pixels_(x, pixel, group),
        values_(reinterpret_cast<const char*>(weight.values) + threadIdx.x * kChunkBytes),
        parts_(weight.step_parts + first),
        taps_(taps + index_t(first) * 4 + Pixels::chunk()),
        next_(*taps_) {}
  __device__ void request(char* stage) {
    const FragmentStep part = *parts_++;
    const char* from = values_ + index_t(part.first) * Block::kFragmentBytes;
    const int kept = __popc(part.kept), warp = int(threadIdx.x) / 32;
#pragma unroll
    for (int i = 0; i < kMost; i += kWarps) {
      const int at = i * Block::kFragmentBytes;
      if (i + warp < kept) simt::async_copy<kChunkBytes>(stage + at + threadIdx.x * kChunkBytes, from + at);
    }
    pixels_.copy(stage + Block::kBytesA, next_);
    next_ = *(taps_ += 4);
  }

 private:
  Pixels pixels_;
  const char* values_;
  const FragmentStep* parts_;
  const PatchTap* taps_;
  PatchTap next_;
};

// sums += one instruction's depth of the step in `stage`.
template <class T, class Tile, int kInstruction>
__device__ inline void multiply_kept(const char* stage, const typename BlockConvBlock<T, Tile>::FragmentsB& fragments_b,
                                     unsigned kept, typename BlockConvBlock<T, Tile>::Sums& sums) {
  using Block = BlockConvBlock<T, Tile>;
  const int first = kInstruction * Block::kGroups + Block::warp_row() / FragmentBlocksView<T>::kRows;
  const int before = __popc(kept & ((1u << first) - 1));  // fragments of other warps, or the other instruction
  const uint4* left = reinterpret_cast<const uint4*>(stage) + before * 32 + threadIdx.x % 32;
  typename Block::FragmentsB::Registers right;
  fragments_b.template load<kInstruction>(stage + Block::kBytesA, right);
#pragma unroll
  for (int i = 0; i < Block::FragmentsA::kFragments; ++i) {
    if ((kept >> (first + i) & 1u) == 0) continue;
    const uint4 a = *left;
    left += 32;
#pragma unroll
    for (int j = 0; j < Block::FragmentsB::kFragments; ++j) {
      simt::multiply_fragments<T>(sums[i][j], {a.x, a.y, a.z, a.w}, right[j]);
    }
  }
}

template <class T, class Tile, ConvPool kPool>
__device__ inline void multiply_kept_steps(const FragmentBlocksView<T>& weight, const GatherView<T>& x,
                                           const PatchTap* taps, index_t pixel, unsigned group,
                                           typename BlockConvBlock<T, Tile>::Sums& sums) {
  using Block = BlockConvBlock<T, Tile>;
  constexpr int kStages = Tile::kStages, kStage = Block::kStage;
  const int first = weight.step_offsets[blockIdx.y], steps = weight.step_offsets[blockIdx.y + 1] - first;
  if (steps == 0) return;
  BlockConvFeed<T, Tile, kPool> feed(weight, first, x, taps, pixel, group);
  char* const shared = simt::dynamic_shared<char>();
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage) {
    if (stage < steps) feed.request(shared + stage * kStage);
    simt::async_commit();
  }
  const typename Block::FragmentsB fragments_b(Block::warp_column());
  const FragmentStep* parts = weight.step_parts + first;
  unsigned next = parts->kept;
  char *read = shared, *write = shared + (kStages - 1) * kStage;
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    simt::async_wait<kStages - 2>();
    __syncthreads();  // this step is there, and everybody is done with the last one
    if (step + kStages - 1 < steps) feed.request(write);
    simt::async_commit();
    const unsigned kept = next;
    if (step + 1 < steps) next = (++parts)->kept;
    multiply_kept<T, Tile, 0>(read, fragments_b, kept, sums);
    multiply_kept<T, Tile, 1>(read, fragments_b, kept, sums);
    write = read;
    read = read == shared + (kStages - 1) * kStage ? shared : read + kStage;
  }
}

template <class T, class Tile, ConvPool kPool>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    block_conv2d_kernel(FragmentBlocksView<T> weight, GatherView<T> x, const PatchTap* __restrict__ taps,
                        detail::PixelStore<T> store) {
  if constexpr (simt::kAsyncCopy || std::is_same_v<T, half>) {
    using Block = BlockConvBlock<T, Tile>;
    const index_t row = index_t(blockIdx.y) * Tile::kM, pixel = index_t(blockIdx.x) * Tile::kN;
    typename Block::Sums sums = {};
    multiply_kept_steps<T, Tile, kPool>(weight, x, taps, pixel, unsigned(row) / unsigned(store.group_channels), sums);
    if constexpr (kPool == ConvPool::halves) {
      store_windows<Block>(sums, row, pixel, store);
    } else {
      store_fragments<Block>(sums, BlockRange{.row = row, .column = pixel, .batch = 0, .k_begin = 0, .k_end = 0},
                             store);
    }
  }
}

// Channels of a group in the matrix: no fragment has two taps.
template <class T>
index_t whole_channels(const Conv2dShape& s) {
  constexpr int kColumns = FragmentBlocksView<T>::kColumns;
  return ceil_div<index_t>(s.channels_per_group(), kColumns) * kColumns;
}

// The shape as taps are found from it; sizes in elements.
struct TapFinder {
  int tap_columns, whole_channels, channels, pixel, width, dilation;
};

template <class T>
__global__ void block_taps_kernel(TapFinder shape, FragmentBlocksView<T> weight, PatchTap* __restrict__ taps) {
  using View = FragmentBlocksView<T>;
  for_each_element(block_conv2d_taps(weight), [=](index_t i) {
    const int column = i < weight.steps * 4 ? weight.step_columns[i / 2] : -1;
    const index_t k = index_t(column) * View::kColumns + i % 2 * kChunk<T>;
    const Odometer tap(column < 0 ? 0 : k, shape.tap_columns, shape.whole_channels);
    const int pixels = (tap.high * shape.width + tap.middle) * shape.dilation;
    taps[i] = column >= 0 && tap.low < shape.channels
                  ? PatchTap{(pixels * shape.pixel + tap.low) / kChunk<T>, tap_mask(tap.high, tap.middle)}
                  : PatchTap{0, kNoTap};
  });
}

template <class T, int kRows, ConvPool kPool>
void launch(const Conv2dShape& s, const FragmentBlocksView<T>& weight, const NhwcView<T>& x, const PatchTap* taps,
            const BiasActivation& epilogue, const ConvImages<T>& images, cudaStream_t stream) {
  using Tile = BlockConvTile<kRows>;
  const bool pooled = kPool == ConvPool::halves;
  const GatherView<T> patches{x, pooled ? detail::window_grid(s) : detail::output_grid(s)};
  const index_t across = ceil_div<index_t>(patches.grid.pixels, Tile::kN);
  require(across <= kMaxGridX && weight.tiles() <= kMaxGridYZ, "block_conv2d: ", weight.rows, " filters of ",
          patches.grid.pixels, " pixels need more blocks than a grid has; split the batch");
  simt::launch(block_conv2d_kernel<T, Tile, kPool>,
               {dim3(unsigned(across), unsigned(weight.tiles())), dim3(Tile::kThreads),
                std::size_t(BlockConvBlock<T, Tile>::kSharedBytes), stream},
               weight, patches, taps, detail::pixel_store<T, kPool>(s, epilogue, images));
}

}  // namespace

template <class T>
WeightShape block_conv2d_matrix(const Conv2dShape& s) {
  return {s.filters, s.kernel_height * s.kernel_width * whole_channels<T>(s)};
}

index_t block_conv2d_tile(const Conv2dShape& s, double kept) {
  const index_t blocks = ceil_div<index_t>(s.filters, 128) * ceil_div<index_t>(detail::output_grid(s).pixels, 128);
  const bool whole = s.groups == 1 ? s.filters > 64 : s.filters_per_group() % 128 == 0;
  return whole && kept >= kMuchKept && blocks >= kFewBlocks ? 128 : 64;
}

template <class T>
void block_conv2d_arrange(const Conv2dShape& s, const float* weight, float* matrix, cudaStream_t stream) {
  const index_t taps = s.kernel_height * s.kernel_width;
  repack({.sizes = {1, 1, s.filters, taps, s.channels_per_group()},
          .strides = {0, 0, s.patch(), 1, taps},
          .padded = whole_channels<T>(s)},
         weight, matrix, stream);
}

index_t block_conv2d_operand_size(const Conv2dShape& s) { return detail::images_size(s); }

template <class T>
void require_block_conv2d(const Conv2dShape& s) {
  detail::require_patches<T>("block_conv2d", s);
}

template <class T>
void block_conv2d_find_taps(const Conv2dShape& s, const FragmentBlocksView<T>& weight, PatchTap* taps,
                            cudaStream_t stream) {
  require_block_conv2d<T>(s);
  const TapFinder shape{.tap_columns = int(s.kernel_width),
                        .whole_channels = int(whole_channels<T>(s)),
                        .channels = int(detail::padded_channels(s)),
                        .pixel = int(detail::pixel_channels(s)),
                        .width = int(s.width),
                        .dilation = int(s.dilation)};
  simt::launch(block_taps_kernel<T>, elements_grid(block_conv2d_taps(weight), stream), shape, weight, taps);
}

template <class T>
void block_conv2d(const Conv2dShape& s, const FragmentBlocksView<T>& weight, const PatchTap* taps,
                  const ConvImages<T>& images, const BiasActivation& epilogue, T* operand, cudaStream_t stream,
                  ConvPool pool) {
  require_block_conv2d<T>(s);
  require_operands(s, images, epilogue.activation, "block_conv2d");
  const WeightShape matrix = block_conv2d_matrix<T>(s);
  require(weight.rows == matrix.rows && weight.columns == matrix.columns, "block_conv2d: weight is ", weight.rows,
          " x ", weight.columns, ", the shape wants ", matrix.rows, " x ", matrix.columns);
  require(weight.tile == 64 || (weight.tile == 128 && (s.groups == 1 || s.filters_per_group() % 128 == 0)),
          "block_conv2d: weight in tiles of ", weight.tile, " rows; take block_conv2d_tile()");
  require(has_tensor_cores_for(kPrecisionOf<T>),
          "block_conv2d: tf32 and bf16 need compute capability 8.0, fp16 7.5; take vector_nm_conv2d, which runs on "
          "ordinary cores");
  detail::require_pooled("block_conv2d", s, epilogue.activation, pool);
  const NhwcView<T> source = detail::narrow_images(s, images, operand, stream);
  const bool pooled = pool == ConvPool::halves;
  const auto run = weight.tile == 64 ? (pooled ? launch<T, 64, ConvPool::halves> : launch<T, 64, ConvPool::none>)
                                     : (pooled ? launch<T, 128, ConvPool::halves> : launch<T, 128, ConvPool::none>);
  run(s, weight, source, taps, epilogue, images, stream);
  finish_curved(epilogue, s.output_size(), images.y, stream);
}

template WeightShape block_conv2d_matrix<half>(const Conv2dShape&);
template void block_conv2d_arrange<half>(const Conv2dShape&, const float*, float*, cudaStream_t);
template void require_block_conv2d<half>(const Conv2dShape&);
template void block_conv2d_find_taps(const Conv2dShape&, const FragmentBlocksView<half>&, PatchTap*, cudaStream_t);
template void block_conv2d(const Conv2dShape&, const FragmentBlocksView<half>&, const PatchTap*,
                           const ConvImages<half>&, const BiasActivation&, half*, cudaStream_t, ConvPool);
template WeightShape block_conv2d_matrix<bfloat16>(const Conv2dShape&);
template void block_conv2d_arrange<bfloat16>(const Conv2dShape&, const float*, float*, cudaStream_t);
template void require_block_conv2d<bfloat16>(const Conv2dShape&);
template void block_conv2d_find_taps(const Conv2dShape&, const FragmentBlocksView<bfloat16>&, PatchTap*, cudaStream_t);
template void block_conv2d(const Conv2dShape&, const FragmentBlocksView<bfloat16>&, const PatchTap*,
                           const ConvImages<bfloat16>&, const BiasActivation&, bfloat16*, cudaStream_t, ConvPool);
template WeightShape block_conv2d_matrix<float>(const Conv2dShape&);
template void block_conv2d_arrange<float>(const Conv2dShape&, const float*, float*, cudaStream_t);
template void require_block_conv2d<float>(const Conv2dShape&);
template void block_conv2d_find_taps(const Conv2dShape&, const FragmentBlocksView<float>&, PatchTap*, cudaStream_t);
template void block_conv2d(const Conv2dShape&, const FragmentBlocksView<float>&, const PatchTap*,
                           const ConvImages<float>&, const BiasActivation&, float*, cudaStream_t, ConvPool);

}  // namespace espalier::kernels
