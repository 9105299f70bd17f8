// m = u' v of conv2d_winograd.h: 36 products of one shape in one launch of the pipeline of pipelined_tile.h, which both
// operands enter by asynchronous copies of 128 bits. 72 C F T flops; whatever the tile, an element of m sums its
// channels in ascending order.
#include "kernels/conv2d_winograd_steps.h"
#include "kernels/pipelined_product.h"

namespace espalier::kernels {
namespace {

// For 64 filters, of which a large tile would waste its half, and where large tiles are too few to go round.
struct FlatProductTile {
  static constexpr int kM = 64, kN = 128, kK = 16, kThreadM = 8, kThreadN = 8, kThreads = 128, kBlocks = 4;
};

struct PlaneStore {
  static constexpr bool aligned = true;
  float* m;
  index_t filters, pitch;

  template <int kCount>
  __device__ void operator()(index_t, index_t row, index_t column, const float (&values)[kCount]) const {
    if (row < filters && column < pitch) store_run(m + row * pitch + column, kCount, aligned, values);
  }
};

using PlaneProduct = PipelinedProduct<PlaneStore>;

template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads, kResident<Tile, false>)
    winograd_product_kernel(PlaneProduct product) {
  const index_t plane = blockIdx.y;
  product.a.matrix.data += plane * product.a.matrix.batch_stride;
  product.b.matrix.data += plane * product.b.matrix.batch_stride;
  product.store.m += plane * product.store.filters * product.store.pitch;
  multiply_block<Tile, PipelinedWideLoader<Tile, Side::a, 4>, PipelinedWideLoader<Tile, Side::b, 4>, false>(
      product, blockIdx.x, simt::dynamic_shared<float>());
}

template <class Tile>
ProductGrid grid_of(const WinogradChunk& chunk) {
  return {.shape = {.m = chunk.filters, .n = chunk.pitch, .k = chunk.channels},
          .tiles_m = ceil_div<index_t>(chunk.filters, Tile::kM),
          .tiles_n = ceil_div<index_t>(chunk.pitch, Tile::kN),
          .splits = 1,
          .split_depth = chunk.channels};
}

// Sums that the busiest of an H100's multiprocessors makes: what padding and an uneven last round cost.
template <class Tile>
index_t busiest_sums(const WinogradChunk& chunk) {
  constexpr index_t kMultiprocessors = 132;
  const ProductGrid grid = grid_of<Tile>(chunk);
  return ceil_div(grid.tiles_m * grid.tiles_n * kWinogradPlanes, kMultiprocessors) * Tile::kM * Tile::kN;
}

template <class Tile>
void multiply_planes(const WinogradChunk& chunk, const float* u, const float* v, float* m, cudaStream_t stream) {
  const index_t u_pitch = winograd_pitch(chunk.filters);
  const PlaneProduct product{.grid = grid_of<Tile>(chunk),
                             .a = PipelinedView({u, u_pitch, u_pitch, chunk.channels * u_pitch}),
                             .b = PipelinedView({v, chunk.pitch, chunk.pitch, chunk.channels * chunk.pitch}),
                             .store = {m, chunk.filters, chunk.pitch}};
  simt::launch(winograd_product_kernel<Tile>,
               {dim3(product.tiles(), kWinogradPlanes), dim3(unsigned(Tile::kThreads)),
                kPipelineFloats<Tile> * sizeof(float), stream},
               product);
}

}  // namespace

void winograd_product(const WinogradChunk& chunk, const float* u, const float* v, float* m, cudaStream_t stream) {
  if (busiest_sums<FlatProductTile>(chunk) < busiest_sums<PipelinedLargeTile>(chunk)) {
    multiply_planes<FlatProductTile>(chunk, u, v, m, stream);
  } else {
    multiply_planes<PipelinedLargeTile>(chunk, u, v, m, stream);
  }
}

}  // namespace espalier::kernels
