// y = a whole pruned network of x, in one launch: convolutions (with a halving max pool or without) and dense layers,
// weights sparse in CSR. A block takes `images` images through all layers; their activations stay in its shared memory,
// the image fastest, so the lanes of a warp are images and neighbouring outputs and read without bank conflicts; the
// weights come through the first-level cache, which holds the 5 K nonzeros of a small network (8 bytes each). Reads x
// once and writes y once: lenet-5 moves 3.2 KB an image instead of 26. 2 flops, 4 bytes of shared memory and a quarter
// of a broadcast per multiply-add of a convolution (a thread sums 2 x 2 outputs), a broadcast more in a dense layer.
// Wins where launches and the maps between layers cost more than the products: small networks of few nonzeros, small
// batches first. On a CPU a thread takes a vector of images through the network; the maps stay in its L2 cache.
// Merrill & Garland, Merge-based SpMV, SC 2016, for rows by length; Chen, Escoin, 2018, for offsets in place of
// columns.
#pragma once
#include <span>
#include <vector>

#include "kernels/activation.h"
#include "kernels/shapes.h"
#include "kernels/sparse/team.h"

namespace espalier::kernels {

// One layer on the host. A dense layer is a convolution whose kernel is as large as its image.
struct FusedProduct {
  Conv2dShape shape;  // for any batch
  bool pool = false;  // a 2 x 2 max pool of stride 2 follows; a last odd row or column is dropped
  Activation activation = Activation::none;
  float slope = kDefaultLeakySlope;
  std::vector<std::int32_t> row_offsets = {}, column_indices = {};  // CSR of [filters, patch]
  std::vector<float> values = {}, bias = {};                        // bias [filters], or empty

  void set_weight(std::span<const float> weight);  // [filters, patch]: its nonzeros
  bool single() const { return shape.out_height() == 1 && shape.out_width() == 1; }  // one output per filter
  index_t out_height() const { return pool ? shape.out_height() / 2 : shape.out_height(); }
  index_t out_width() const { return pool ? shape.out_width() / 2 : shape.out_width(); }
  index_t out_size() const { return shape.filters * out_height() * out_width(); }
};

struct alignas(8) FusedNonzero {
  float value;
  std::int32_t offset;  // of what it multiplies, from an output's first input
};
struct alignas(16) FusedRow {  // a filter or output feature; the longest of a layer come first
  std::int32_t begin, end;     // of its nonzeros
  std::int32_t output;         // where its first output lies in shared memory
  float bias;
};

struct FusedLayer {
  std::int32_t first_row = 0, rows = 0;
  std::int32_t input = 0;                 // where its map begins in shared memory
  std::int32_t tiles_x = 0, tiles_y = 0;  // of 2 x 2 outputs; none: one output per row
  std::int32_t step_x = 0, step_y = 0;    // floats from an output's inputs to its neighbour's
  std::int32_t out_x = 0, out_y = 0;      // floats from an output to its neighbour, after the pool
  std::int32_t out_width = 0, out_height = 0;
  std::int32_t clear_begin = 0, clear = 0;  // floats of its output that must be zero before it writes
  bool pool = false;
  Activation activation = Activation::none;
  float slope = kDefaultLeakySlope;
};

struct FusedNetwork {
  static constexpr int kMostLayers = 12;
  std::int32_t images = 1, layer_count = 0;
  std::int32_t floats = 0;                                               // of shared memory
  std::int32_t channels = 0, height = 0, width = 0, plane = 0, row = 0;  // the first map: x with its padding
  std::int32_t origin = 0, clear = 0;                                    // of x in it; floats to be zero
  std::int32_t result = 0, outputs = 0;                                  // the last map, outputs of an image
  FusedLayer layers[kMostLayers] = {};
  constexpr index_t inputs() const { return index_t(channels) * height * width; }
};

struct FusedTables {
  FusedNetwork network;
  std::vector<FusedRow> rows;
  std::vector<FusedNonzero> nonzeros;
};

// Throws InvalidArgument where a product does not take what the one before it gives, or there are too many.
FusedTables fused_tables(std::span<const FusedProduct> products, int images, SparseTeam team = SparseTeam::automatic);

// How many images a block should take: as many as shared memory holds and as leave a block for each multiprocessor. 0:
// not even one fits.
int fused_images(std::span<const FusedProduct> products, index_t batch, index_t shared_bytes, int multiprocessors,
                 SparseTeam team = SparseTeam::automatic);

// x [batch, inputs()], y [batch, outputs]; rows and nonzeros are those of the tables, on the device.
void fused_network(const FusedNetwork& network, const FusedRow* rows, const FusedNonzero* nonzeros, index_t batch,
                   const float* x, float* y, cudaStream_t stream, SparseTeam team = SparseTeam::automatic,
                   Workspace scratch = {});

// What fused_network() needs of scratch, without arrivals: some on a CPU where shared memory does not hold the maps of
// a vector of images, never on a GPU, where a block takes fewer images instead.
index_t fused_scratch_floats(const FusedNetwork& network, index_t batch, index_t shared_bytes, int multiprocessors);

}  // namespace espalier::kernels
