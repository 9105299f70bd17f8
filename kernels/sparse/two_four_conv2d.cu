// The rows of a tile of samples are pixels of y: 64 bytes of their patches, eight channels of a tap at a time, are what
// an instruction of mma.sp multiplies. Where a pixel's patch begins is found once by the thread that copies for it, as
// the dense convolution does; where in a patch a step finds its channels is read from a table, one 128-bit load a step.
// On sm_80 gathering is 5 % of the main loop's instructions, 198 for two steps where rows of x as they are take 188
// (the dense convolution's way, which counts the taps on in every step: 30 % of 269); 32 % are HMMA, 30 % in the tile
// for up to 64 filters; no spills.
// Modelled with mma.sp at twice the rate of mma, fp16, batch 32, us beside the dense tensor-core convolution, both
// from images in nhwc: 64 -> 64 at 28 x 28 12 and 15 on A100, 13 and 19 on RTX 4090; 256 -> 256 at 14 x 14 33 and 39,
// 35 and 68. On A100 both are bound by shared memory. Rounding x into nhwc takes 8 to 12 us more, of either, but where
// the convolution before leaves it so.
#include "kernels/sparse/two_four_conv2d.h"

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/sparse/patch_convolution.h"
#include "kernels/sparse/sparse_tensor_tile.h"

namespace espalier::kernels {
namespace {

// The shape as the table of taps is made from it; sizes in elements.
struct PatchTapTable {
  index_t steps = 0;
  int chunk = 1, tap_rows = 1, tap_columns = 1, channels = 1, pixel = 1, width = 1, dilation = 1;
  constexpr index_t size() const { return (steps + 1) * 8; }  // the loop reads one step ahead
};

__global__ void patch_taps_kernel(PatchTapTable table, PatchTap* __restrict__ taps) {
  for_each_element(table.size(), [=](index_t i) {
    const index_t half = i % 2, chunk = i / 2 % 4, step = i / 8, k = ((step * 2 + half) * 4 + chunk) * table.chunk;
    const Odometer tap(k, table.tap_columns, table.channels);
    const int pixels = (tap.high * table.width + tap.middle) * table.dilation;
    taps[i] = tap.high < table.tap_rows
                  ? PatchTap{(pixels * table.pixel + tap.low) / table.chunk, tap_mask(tap.high, tap.middle)}
                  : PatchTap{0, kNoTap};
  });
}

// Brings the patches of a tile's pixels: a step is two tiles, an instruction each.
template <class T, class Tile, ConvPool kPool>
class PatchRows {
  using Pixels = PatchPixels<T, Tile, kPool>;

 public:
  __device__ PatchRows(const GatherView<T>& x, const PatchTap* taps, index_t first, unsigned group)
      : pixels_(x, first, group), taps_(reinterpret_cast<const int4*>(taps) + Pixels::chunk()), next_(*taps_) {}
  __device__ void request(char* tile) {
    pixels_.copy(tile, {next_.x, unsigned(next_.y)});
    pixels_.copy(tile + Tile::kN * kStepBytes, {next_.z, unsigned(next_.w)});  // the second instruction's
    next_ = *(taps_ += 4);
  }

 private:
  Pixels pixels_;
  const int4* taps_;
  int4 next_;  // of both instructions of the next step
};

template <class T, class Tile, ConvPool kPool>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    two_four_conv2d_kernel(TwoFourTensorView<T> weight, GatherView<T> x, const PatchTap* __restrict__ taps,
                           detail::PixelStore<T> store) {
  if constexpr (simt::kAsyncCopy) {
    using Block = SparseBlock<T, Tile>;
    const index_t row = index_t(blockIdx.y) * Tile::kM, pixel = index_t(blockIdx.x) * Tile::kN;
    typename Block::Sums sums = {};
    PatchRows<T, Tile, kPool> patches(x, taps, pixel, unsigned(row) / unsigned(store.group_channels));
    multiply_sparse_steps<T, Tile>(weight, row, patches, RowFragments<T, Tile>(Block::warp_column()), sums);
    if constexpr (kPool == ConvPool::halves) {
      store_windows<Block>(sums, row, pixel, store);
    } else {
      store_fragments<Block>(sums, BlockRange{.row = row, .column = pixel, .batch = 0, .k_begin = 0, .k_end = 0},
                             store);
    }
  }
}

template <class T, int kRows, ConvPool kPool>
void launch(const TwoFourTensorView<T>& weight, const GatherView<T>& x, const PatchTap* taps,
            const detail::PixelStore<T>& store, cudaStream_t stream) {
  using Tile = SparseTile<kRows>;
  const index_t across = ceil_div<index_t>(x.grid.pixels, Tile::kN), tiles = ceil_div<index_t>(weight.rows, Tile::kM);
  require(across <= kMaxGridX && tiles <= kMaxGridYZ, "two_four_conv2d: ", weight.rows, " filters of ", x.grid.pixels,
          " pixels need more blocks than a grid has; split the batch");
  simt::launch(two_four_conv2d_kernel<T, Tile, kPool>,
               {dim3(unsigned(across), unsigned(tiles)), dim3(Tile::kThreads),
                std::size_t(SparseBlock<T, Tile>::kSharedBytes), stream},
               weight, x, taps, store);
}

// The tile whose rows are of one group.
bool in_small_tiles(const Conv2dShape& s) {
  return s.filters <= 64 || (s.groups > 1 && s.filters_per_group() % 128 != 0);
}

template <class T>
PatchTapTable tap_table_of(const Conv2dShape& s) {
  const WeightShape matrix = two_four_conv2d_matrix(s);
  return {.steps = TwoFourTensorView<T>{matrix.rows, matrix.columns}.steps(),
          .chunk = kChunk<T>,
          .tap_rows = int(s.kernel_height),
          .tap_columns = int(s.kernel_width),
          .channels = int(detail::padded_channels(s)),
          .pixel = int(detail::pixel_channels(s)),
          .width = int(s.width),
          .dilation = int(s.dilation)};
}

template <class T, ConvPool kPool>
void launch_pooled(const Conv2dShape& s, const TwoFourTensorView<T>& weight, const NhwcView<T>& x, const PatchTap* taps,
                   const BiasActivation& epilogue, const ConvImages<T>& images, cudaStream_t stream) {
  const bool pooled = kPool == ConvPool::halves;
  const GatherView<T> patches{x, pooled ? detail::window_grid(s) : detail::output_grid(s)};
  const auto store = detail::pixel_store<T, kPool>(s, epilogue, images);
  if (in_small_tiles(s)) {
    launch<T, 64, kPool>(weight, patches, taps, store, stream);
  } else {
    launch<T, 128, kPool>(weight, patches, taps, store, stream);
  }
}

}  // namespace

WeightShape two_four_conv2d_matrix(const Conv2dShape& s) {
  return {s.filters, s.kernel_height * s.kernel_width * detail::padded_channels(s)};
}

void two_four_conv2d_arrange(const Conv2dShape& s, const float* weight, float* matrix, cudaStream_t stream) {
  const index_t taps = s.kernel_height * s.kernel_width;
  repack({.sizes = {1, 1, s.filters, taps, s.channels_per_group()},
          .strides = {0, 0, s.patch(), 1, taps},
          .padded = detail::padded_channels(s)},
         weight, matrix, stream);
}

index_t two_four_conv2d_operand_size(const Conv2dShape& s) { return detail::images_size(s); }

template <class T>
void require_two_four_conv2d(const Conv2dShape& s) {
  detail::require_patches<T>("two_four_conv2d", s);
}

template <class T>
index_t two_four_conv2d_taps(const Conv2dShape& s) {
  return tap_table_of<T>(s).size();
}

template <class T>
void two_four_conv2d_find_taps(const Conv2dShape& s, PatchTap* taps, cudaStream_t stream) {
  require_two_four_conv2d<T>(s);
  const PatchTapTable table = tap_table_of<T>(s);
  simt::launch(patch_taps_kernel, elements_grid(table.size(), stream), table, taps);
}

template <class T>
void two_four_conv2d(const Conv2dShape& s, const TwoFourTensorView<T>& weight, const PatchTap* taps,
                     const ConvImages<T>& images, const BiasActivation& epilogue, T* operand, cudaStream_t stream,
                     ConvPool pool) {
  require_two_four_conv2d<T>(s);
  require_operands(s, images, epilogue.activation, "two_four_conv2d");
  const WeightShape matrix = two_four_conv2d_matrix(s);
  require(weight.rows == matrix.rows && weight.columns == matrix.columns, "two_four_conv2d: weight is ", weight.rows,
          " x ", weight.columns, ", the shape wants ", matrix.rows, " x ", matrix.columns);
  require(has_sparse_tensor_cores(),
          "two_four_conv2d: sparse tensor cores begin with compute capability 8.0; take csr_conv2d, which runs on "
          "ordinary cores");
  detail::require_pooled("two_four_conv2d", s, epilogue.activation, pool);
  const NhwcView<T> source = detail::narrow_images(s, images, operand, stream);
  const auto launch = pool == ConvPool::halves ? launch_pooled<T, ConvPool::halves> : launch_pooled<T, ConvPool::none>;
  launch(s, weight, source, taps, epilogue, images, stream);
  finish_curved(epilogue, s.output_size(), images.y, stream);
}

template void require_two_four_conv2d<half>(const Conv2dShape&);
template index_t two_four_conv2d_taps<half>(const Conv2dShape&);
template void two_four_conv2d_find_taps<half>(const Conv2dShape&, PatchTap*, cudaStream_t);
template void two_four_conv2d(const Conv2dShape&, const TwoFourTensorView<half>&, const PatchTap*,
                              const ConvImages<half>&, const BiasActivation&, half*, cudaStream_t, ConvPool);
template void require_two_four_conv2d<bfloat16>(const Conv2dShape&);
template index_t two_four_conv2d_taps<bfloat16>(const Conv2dShape&);
template void two_four_conv2d_find_taps<bfloat16>(const Conv2dShape&, PatchTap*, cudaStream_t);
template void two_four_conv2d(const Conv2dShape&, const TwoFourTensorView<bfloat16>&, const PatchTap*,
                              const ConvImages<bfloat16>&, const BiasActivation&, bfloat16*, cudaStream_t, ConvPool);
template void require_two_four_conv2d<float>(const Conv2dShape&);
template index_t two_four_conv2d_taps<float>(const Conv2dShape&);
template void two_four_conv2d_find_taps<float>(const Conv2dShape&, PatchTap*, cudaStream_t);
template void two_four_conv2d(const Conv2dShape&, const TwoFourTensorView<float>&, const PatchTap*,
                              const ConvImages<float>&, const BiasActivation&, float*, cudaStream_t, ConvPool);

}  // namespace espalier::kernels
