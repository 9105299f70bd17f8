#include "kernels/sparse/fused_network.h"

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/simt/strip.h"
#include "kernels/simt/unrolled.h"
#include "kernels/sparse/row_product.h"

namespace espalier::kernels {

// Sixteen warps: a block has a multiprocessor to itself where its maps take most of the shared memory.
struct FusedWarps {
  static constexpr int kLanes = 32, kThreads = 512;
  using Strip = simt::Strip<1>;
};
struct FusedThread {
  static constexpr int kLanes = 1, kThreads = 1;
  using Strip = simt::Strip<simt::kLanes>;
};

namespace {

constexpr int kChains = 4;  // sums that one output is made of, so that multiply-adds need not wait for each other

// What a thread works on: an image (on a CPU all of them), and a slot, of which a warp has 32 / images.
template <class Team>
struct Place {
  __device__ explicit Place(int images)
      : slots_per_warp(Team::kLanes == 1 ? 1 : Team::kLanes / images),
        image(Team::kLanes == 1 ? 0 : int(threadIdx.x) % images),
        slot(Team::kLanes == 1 ? 0 : int(threadIdx.x) / images),
        slots(Team::kLanes == 1 ? 1 : Team::kThreads / images),
        across(slots_per_warp > 1 ? slots_per_warp / 2 : 1),
        down(slots_per_warp > 1 ? 2 : 1) {}
  int slots_per_warp, image, slot, slots;
  int across, down;  // neighbouring tiles that a warp takes at once
};

// On a CPU transposing reads and writes whole vectors: room for one more.
constexpr int block_floats(const FusedNetwork& network) { return network.floats + simt::kLanes; }

__device__ inline void clear(float* memory, int count) {
  for (int i = int(threadIdx.x); i < count; i += int(blockDim.x)) memory[i] = 0.0f;
}

// The first map from x, four neighbours of a row at a time; images beyond the batch become zeros.
template <class Team>
__device__ inline void load_by_warps(const FusedNetwork& network, const Place<Team>& place, int count,
                                     const float* __restrict__ x, bool vectors, float* map) {
  const int runs = (network.width + 3) / 4, rows = network.channels * network.height;
  const float* image = x + place.image * network.inputs();
  const bool exists = place.image < count;
  for (int i = place.slot; i < rows * runs; i += place.slots) {
    const int row = i / runs, column = i % runs * 4;
    const float* from = image + index_t(row) * network.width + column;
    float* to = map + row / network.height * network.plane + row % network.height * network.row +
                column * network.images + place.image;
    float four[4] = {};
    if (exists && vectors) {
      simt::load_together(from, four);
    } else if (exists) {
#pragma unroll
      for (int k = 0; k < 4; ++k) four[k] = column + k < network.width ? from[k] : 0.0f;
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (column + k < network.width) to[k * network.images] = four[k];
    }
  }
}

template <class Team>
__device__ inline void load_by_thread(const FusedNetwork& network, const Place<Team>&, int count, const float* x,
                                      float* map) {
  using simt::Overhang;
  const bool whole = network.plane == network.height * network.row && network.row == network.width * network.images;
  const int lines = whole ? 1 : network.channels * network.height;
  const int width = whole ? int(network.inputs()) : network.width;
  for (int line = 0; line < lines; ++line) {
    float* to = map + line / network.height * network.plane + line % network.height * network.row;
    simt::transpose<Overhang::spoil>(x + index_t(line) * width, network.inputs(), count, width, to, network.images);
  }
}

template <class Team>
__device__ inline void load_images(const FusedNetwork& network, const Place<Team>& place, int count, const float* x,
                                   bool vectors, float* map) {
  if constexpr (Team::kLanes == 1) {
    load_by_thread(network, place, count, x, map);
  } else {
    load_by_warps(network, place, count, x, vectors, map);
  }
}

template <class Team>
__device__ inline void store_results(const FusedNetwork& network, int count, const float* map, float* __restrict__ y) {
  if constexpr (Team::kLanes == 1) {
    simt::transpose(map, network.images, network.outputs, count, y, network.outputs);
  } else {
    for (int i = int(threadIdx.x); i < count * network.outputs; i += Team::kThreads) {
      y[i] = map[i % network.outputs * network.images + i / network.outputs];
    }
  }
}

// One output per row: the slots take row after row.
template <class Team>
__device__ inline void run_rows(const FusedLayer& layer, const Place<Team>& place, const FusedRow* __restrict__ rows,
                                const FusedNonzero* __restrict__ nonzeros, float* memory) {
  using Strip = typename Team::Strip;
  const float* in = memory + layer.input + place.image;
  for (int r = place.slot; r < layer.rows; r += place.slots) {
    const FusedRow row = rows[layer.first_row + r];
    Strip sums[kChains];
    int i = row.begin;
    for (; i + kChains <= row.end; i += kChains) {
      simt::unrolled<kChains>([&](auto chain) {
        const FusedNonzero nonzero = nonzeros[i + chain];
        sums[chain].add_product(nonzero.value, in + nonzero.offset);
      });
    }
    for (; i < row.end; ++i) sums[0].add_product(nonzeros[i].value, in + nonzeros[i].offset);
    simt::unrolled<kChains - 1>([&](auto chain) { sums[0].add_product(1.0f, sums[chain + 1]); });
    sums[0].add(row.bias);
    activate(layer.activation, layer.slope, sums[0]);
    sums[0].store(memory + row.output + place.image);
  }
}

// Four sums on their way out: pooled to one, or each to its place if there is one.
template <class Strip>
__device__ inline void store_tile(const FusedLayer& layer, float bias, int tile_y, int tile_x, Strip (&sums)[4],
                                  float* out) {
  if (layer.pool) {
    simt::unrolled<3>([&](auto k) { sums[0].take_larger(sums[k + 1]); });
    sums[0].add(bias);
    activate(layer.activation, layer.slope, sums[0]);
    sums[0].store(out + tile_y * layer.out_y + tile_x * layer.out_x);
    return;
  }
  simt::unrolled<4>([&](auto k) {
    const int y = 2 * tile_y + k / 2, x = 2 * tile_x + k % 2;
    sums[k].add(bias);
    activate(layer.activation, layer.slope, sums[k]);
    if (y < layer.out_height && x < layer.out_width) sums[k].store(out + y * layer.out_y + x * layer.out_x);
  });
}

// A convolution: a thread sums 2 x 2 outputs, the slots of a warp take neighbouring tiles of one filter.
template <class Team>
__device__ inline void run_tiles(const FusedLayer& layer, const Place<Team>& place, const FusedRow* __restrict__ rows,
                                 const FusedNonzero* __restrict__ nonzeros, float* memory) {
  const int groups_x = (layer.tiles_x + place.across - 1) / place.across;
  const int groups_y = (layer.tiles_y + place.down - 1) / place.down, groups = groups_x * groups_y;
  const int within = place.slot % place.slots_per_warp, warps = place.slots / place.slots_per_warp;
  for (int task = place.slot / place.slots_per_warp; task < layer.rows * groups; task += warps) {
    const int group = task % groups;
    const int tile_x = group % groups_x * place.across + within % place.across;
    const int tile_y = group / groups_x * place.down + within / place.across;
    if (tile_x >= layer.tiles_x || tile_y >= layer.tiles_y) continue;
    const FusedRow row = rows[layer.first_row + task / groups];
    const float* in = memory + layer.input + 2 * (tile_y * layer.step_y + tile_x * layer.step_x) + place.image;
    typename Team::Strip sums[4];
#pragma unroll 4
    for (int i = row.begin; i < row.end; ++i) {
      const FusedNonzero nonzero = nonzeros[i];
      const float* from = in + nonzero.offset;
      sums[0].add_product(nonzero.value, from);
      sums[1].add_product(nonzero.value, from + layer.step_x);
      sums[2].add_product(nonzero.value, from + layer.step_y);
      sums[3].add_product(nonzero.value, from + layer.step_y + layer.step_x);
    }
    store_tile(layer, row.bias, tile_y, tile_x, sums, memory + row.output + place.image);
  }
}

// The images of one block through all layers.
template <class Team>
__device__ inline void run_group(const FusedNetwork& network, const FusedRow* __restrict__ rows,
                                 const FusedNonzero* __restrict__ nonzeros, index_t first, index_t batch, bool vectors,
                                 const float* __restrict__ x, float* __restrict__ y, float* memory) {
  const Place<Team> place(network.images);
  const int count = int(batch - first < network.images ? batch - first : network.images);
  if (network.clear > 0) {
    clear(memory, network.clear);
    __syncthreads();
  }
  load_images(network, place, count, x + first * network.inputs(), vectors, memory + network.origin);
  __syncthreads();
  for (int l = 0; l < network.layer_count; ++l) {
    const FusedLayer& layer = network.layers[l];
    if (layer.clear > 0) {
      clear(memory + layer.clear_begin, layer.clear);
      __syncthreads();
    }
    if (layer.tiles_x > 0) {
      run_tiles<Team>(layer, place, rows, nonzeros, memory);
    } else {
      run_rows<Team>(layer, place, rows, nonzeros, memory);
    }
    __syncthreads();
  }
  store_results<Team>(network, count, memory + network.result, y + first * network.outputs);
}

// A warp's memory is shared memory, and nothing else: its loads are then known to be. Only on a CPU a block may have
// maps in the caller's scratch, and takes several groups of images one after the other, so that they stay cached.
template <class Team>
__global__ void __launch_bounds__(Team::kThreads)
    fused_network_kernel(FusedNetwork network, const FusedRow* __restrict__ rows,
                         const FusedNonzero* __restrict__ nonzeros, index_t batch, bool vectors,
                         const float* __restrict__ x, float* __restrict__ y, float* scratch) {
  const index_t first = index_t(blockIdx.x) * network.images;
  if constexpr (Team::kLanes == 1) {
    float* memory = scratch ? scratch + blockIdx.x * index_t(block_floats(network)) : simt::dynamic_shared<float>();
    for (index_t group = first; group < batch; group += index_t(gridDim.x) * network.images) {
      run_group<Team>(network, rows, nonzeros, group, batch, vectors, x, y, memory);
    }
  } else {
    run_group<Team>(network, rows, nonzeros, first, batch, vectors, x, y, simt::dynamic_shared<float>());
  }
}

template <class Team>
void launch(const FusedNetwork& network, const FusedRow* rows, const FusedNonzero* nonzeros, index_t batch,
            const float* x, float* y, cudaStream_t stream, Workspace scratch) {
  const bool vectors = network.width % 4 == 0 && reinterpret_cast<std::uintptr_t>(x) % 16 == 0;
  const index_t floats = Team::kLanes == 1 ? block_floats(network) : network.floats;
  index_t blocks = ceil_div<index_t>(batch, network.images);
  if (scratch.data) blocks = blocks < scratch.floats / floats ? blocks : scratch.floats / floats;
  simt::launch(
      fused_network_kernel<Team>,
      {dim3(unsigned(blocks)), dim3(Team::kThreads), scratch.data ? 0 : sizeof(float) * std::size_t(floats), stream},
      network, rows, nonzeros, batch, vectors, x, y, scratch.data);
}

}  // namespace

index_t fused_scratch_floats(const FusedNetwork& network, index_t batch, index_t shared_bytes, int multiprocessors) {
  const index_t floats = block_floats(network), groups = ceil_div<index_t>(batch, network.images);
  if (!simt::kEmulated || floats * index_t(sizeof(float)) <= shared_bytes) return 0;
  return floats * (groups < 2 * multiprocessors ? groups : 2 * multiprocessors);
}

void fused_network(const FusedNetwork& network, const FusedRow* rows, const FusedNonzero* nonzeros, index_t batch,
                   const float* x, float* y, cudaStream_t stream, SparseTeam team, Workspace scratch) {
  if (batch == 0) return;
  require(batch > 0 && ceil_div<index_t>(batch, network.images) <= kMaxGridX, "fused_network: a batch of ", batch);
  if (is_warp(team)) {
    require(32 % network.images == 0, "fused_network: ", network.images, " images; a warp needs a divisor of 32");
    require(!scratch.data, "fused_network: a warp's maps are in shared memory, not in scratch");
    return launch<FusedWarps>(network, rows, nonzeros, batch, x, y, stream, {});
  }
  if constexpr (simt::kEmulated) {
    require(network.images == simt::kLanes, "fused_network: ", network.images, " images; a thread takes ",
            simt::kLanes);
    require(!scratch.data || scratch.floats >= block_floats(network), "fused_network: scratch of ", scratch.floats,
            " floats; a block needs ", block_floats(network));
    launch<FusedThread>(network, rows, nonzeros, batch, x, y, stream, scratch);
  }
}

}  // namespace espalier::kernels
