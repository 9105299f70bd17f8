#include "kernels/sparse/csr_resident_spmm.h"

#include "kernels/activation_math.h"
#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/simt/half.h"
#include "kernels/simt/unrolled.h"
#include "kernels/simt/vector_store.h"

namespace espalier::kernels {
namespace {

constexpr int kSteps = ResidentCsrView::kSteps, kLane = ResidentCsrView::kLane, kMaxThreads = 512;

template <class T>
constexpr int kToWord = int(sizeof(float) / sizeof(T));  // samples in T that share a word of shared memory

// How a warp shares out a bundle: kLanes lanes to a row, kLane words of samples to a lane, four of each half of the
// tile. The eight lanes of a 128-bit phase belong to kPhaseRows rows. Where all their columns were of one class, half
// of the rows would meet the other half in their banks, so these read the second half of the tile first.
template <class T_, int kSamples_>
struct ResidentTile {
  using T = T_;
  static constexpr int kPacked = kToWord<T>, kSums = kLane * kPacked;  // samples to a word, sums of a lane
  static constexpr int kSamples = kSamples_, kLanes = kSamples / kLane, kRows = 32 / kLanes, kHalf = kSamples / 2;
  static constexpr int kPhaseRows = 8 / kLanes, kClasses = kPhaseRows / 2;
  static_assert(kClasses == (kSamples < 32 ? 32 / kSamples : 1), "as the arrangement has dealt the columns");
};

struct ResidentProduct {
  index_t batch;
  ResidentCsrView weight;
  const float* x;
  BiasActivation epilogue;
  float* y;
  float* partial;  // [chunks, rows, width]; null: there is one chunk
  index_t width;   // the batch, rounded up to whole tiles
  bool by_fours;   // rows of x begin at multiples of 16 bytes
};

// A word of shared memory: a sample as it is, or two in 16 bits.
template <class T>
__device__ inline float packed(float sample, float next) {
  if constexpr (kToWord<T> == 1) {
    return sample;
  } else {
    const auto low = std::bit_cast<std::uint16_t>(from_float<T>(sample));
    const auto high = std::bit_cast<std::uint16_t>(from_float<T>(next));
    return std::bit_cast<float>(low | std::uint32_t(high) << 16);
  }
}

// The part of x that a block keeps in shared memory, [columns, kSamples] words.
template <class Tile>
struct Panel {
  const float* from;  // of the tile's first sample, the chunk's first column
  float* to;
  int samples, columns;  // that there are
  index_t pitch;         // of x

  __device__ Panel(const ResidentProduct& product, float* shared) : to(shared), pitch(product.weight.columns) {
    constexpr int kSamples = Tile::kSamples * Tile::kPacked;
    const index_t first_sample = index_t(blockIdx.z) * kSamples, left = product.batch - first_sample;
    const int chunk = product.weight.chunk, first = int(blockIdx.y) * chunk, inside = int(pitch) - first;
    from = product.x + first_sample * pitch + first;
    samples = left < kSamples ? int(left) : kSamples;
    columns = inside < chunk ? inside : chunk;
  }
  // Of a word's i-th sample; zeros where there is none.
  __device__ float one(int word, int i, int column) const {
    const int sample = word * Tile::kPacked + i;
    return sample < samples ? from[sample * pitch + column] : 0.0f;
  }
  __device__ float4 four(int word, int i, int column) const {
    const int sample = word * Tile::kPacked + i;
    if (sample >= samples) return make_float4(0, 0, 0, 0);
    return *reinterpret_cast<const float4*>(from + sample * pitch + column);
  }
};

// Four words of four columns a lane, turned in registers: columns of a sample come in 128-bit loads, and the lanes of
// a warp read whole sectors. Lanes that are a multiple of four columns apart would meet in the banks of a short tile;
// there each begins with another of its columns.
template <class Tile>
__device__ inline void load_panel_by_fours(const Panel<Tile>& panel) {
  constexpr int kQuads = Tile::kSamples / 4, kWarpColumns = 4 * (32 / kQuads), kApart = 8 / kQuads;
  const int quad = int(threadIdx.x) % kQuads, fours = int(threadIdx.x) / kQuads, turn = fours % kApart;
  using T = typename Tile::T;
#pragma unroll(kApart == 1 ? 2 : 1)
  for (int column = int(threadIdx.y) * kWarpColumns + 4 * fours; column < panel.columns;
       column += int(blockDim.y) * kWarpColumns) {
    float square[4][4];
    simt::unrolled<4>([&](auto i) {
      const float4 row = panel.four(4 * quad + i, 0, column);
      const float4 next = Tile::kPacked > 1 ? panel.four(4 * quad + i, 1, column) : row;
      square[0][i] = packed<T>(row.x, next.x), square[1][i] = packed<T>(row.y, next.y);
      square[2][i] = packed<T>(row.z, next.z), square[3][i] = packed<T>(row.w, next.w);
    });
    simt::unrolled<4>([&](auto i) {
      float four[4];
      simt::unrolled<4>([&](auto j) {
        four[j] = square[i][j];
        if (kApart > 1 && turn % 2 == 1) four[j] = square[i ^ 1][j];
        if (kApart > 2 && turn == 2) four[j] = square[i ^ 2][j];
        if (kApart > 2 && turn == 3) four[j] = square[i ^ 3][j];
      });
      simt::store_shared(panel.to + (column + (i ^ turn)) * Tile::kSamples + 4 * quad, four);
    });
  }
}

// The same where x has rows that do not begin at a multiple of 16 bytes. Odd columns begin with another quad of
// samples, so that the stores of a phase meet in no bank.
template <class Tile>
__device__ inline void load_panel_by_ones(const Panel<Tile>& panel) {
  constexpr int kQuads = Tile::kSamples < 16 ? 2 : 4;    // lanes that fetch the samples of one column
  constexpr int kTurns = Tile::kSamples / (4 * kQuads);  // until all its samples are there
  constexpr int kWarpColumns = 32 / kQuads;
#pragma unroll(kTurns == 1 ? 4 : 2)
  for (int column = int(threadIdx.y) * kWarpColumns + int(threadIdx.x) / kQuads; column < panel.columns;
       column += int(blockDim.y) * kWarpColumns) {
    simt::unrolled<kTurns>([&](auto turn) {
      const int quad = int(threadIdx.x) % kQuads + (turn + column) % kTurns * kQuads;
      float four[4];
      simt::unrolled<4>([&](auto i) {
        const float sample = panel.one(4 * quad + i, 0, column);
        const float next = Tile::kPacked > 1 ? panel.one(4 * quad + i, 1, column) : sample;
        four[i] = packed<typename Tile::T>(sample, next);
      });
      simt::store_shared(panel.to + column * Tile::kSamples + 4 * quad, four);
    });
  }
}

// shared [chunk + 1, kSamples] words = the block's part of x, and a row of zeros.
template <class Tile>
__device__ inline void load_panel(const ResidentProduct& product, float* shared) {
  const Panel<Tile> panel(product, shared);
  if (product.by_fours) {
    load_panel_by_fours(panel);
  } else {
    load_panel_by_ones(panel);
  }
  if (threadIdx.y == 0 && threadIdx.x < Tile::kSamples) {
    shared[product.weight.chunk * Tile::kSamples + int(threadIdx.x)] = 0.0f;
  }
}

// The nonzeros of one row that a lane multiplies next.
struct Nonzeros {
  float4 values;
  uint2 columns;  // four of 16 bits
};

// sums += value * the samples of four words.
template <class T, int kFirst, int kSums>
__device__ inline void multiply_words(float value, const float* from, float (&sums)[kSums]) {
  const float4 words = *reinterpret_cast<const float4*>(from);
  const float all[] = {words.x, words.y, words.z, words.w};
  simt::unrolled<4>([&](auto i) {
    if constexpr (kToWord<T> == 1) {
      sums[kFirst + i] += value * all[i];
    } else {
      const auto pair = std::bit_cast<std::uint32_t>(all[i]);
      sums[kFirst + 2 * i] += value * low_half<T>(pair), sums[kFirst + 2 * i + 1] += value * high_half<T>(pair);
    }
  });
}

// sums += a group's nonzeros times their samples.
template <class Tile>
__device__ inline void multiply_group(const float* one_half, const float* other_half, const Nonzeros& row,
                                      float (&sums)[Tile::kSums]) {
  const float values[kSteps] = {row.values.x, row.values.y, row.values.z, row.values.w};
  simt::unrolled<kSteps>([&](auto step) {
    const unsigned two = step < 2 ? row.columns.x : row.columns.y;
    const unsigned at = (step % 2 == 0 ? two & 0xFFFF : two >> 16) * Tile::kSamples;
    multiply_words<typename Tile::T, 0>(values[step], one_half + at, sums);
    multiply_words<typename Tile::T, Tile::kSums / 2>(values[step], other_half + at, sums);
  });
}

// Four sums of a row, those of samples first .. first + 3.
__device__ inline void store_four(const ResidentProduct& product, index_t row, index_t first, const float* sums) {
  if (product.partial != nullptr) {
    float* to = product.partial + (blockIdx.y * product.weight.rows + row) * product.width + first;
    return simt::store_global(to, {sums[0], sums[1], sums[2], sums[3]});
  }
  const BiasActivation& epilogue = product.epilogue;
  const float bias = epilogue.bias == nullptr ? 0.0f : epilogue.bias[row];
  for (int i = 0; i < 4 && first + i < product.batch; ++i) {
    product.y[(first + i) * product.weight.rows + row] =
        apply_activation(epilogue.activation, sums[i] + bias, epilogue.slope);
  }
}

// What of a bundle a lane multiplies: eight words of samples of one row.
template <class Tile>
struct Lane {
  int place, one, other;  // of its row; of its four words that are read first, and of the others

  __device__ Lane() : place(int(threadIdx.x) / Tile::kLanes) {
    const bool second_first = place % Tile::kPhaseRows / Tile::kClasses == 1;
    one = int(threadIdx.x) % Tile::kLanes * 4 + (second_first ? Tile::kHalf : 0);
    other = second_first ? one - Tile::kHalf : one + Tile::kHalf;
  }

  // sums += those of every slices-th group of the bundle.
  __device__ void multiply(const ResidentCsrView& weight, const float* panel, int bundle, int slice,
                           float (&sums)[Tile::kSums]) const {
    const index_t index = blockIdx.y * weight.bundles() + bundle;
    const int groups = weight.group_offsets[index + 1] - weight.group_offsets[index], slices = weight.slices;
    const index_t first = index_t(weight.group_offsets[index] + slice) * Tile::kRows + place;
    const float4* values = reinterpret_cast<const float4*>(weight.values) + first;
    const uint2* columns = reinterpret_cast<const uint2*>(weight.chunk_columns) + first;
    Nonzeros next{*values, *columns};
    for (int group = slice; group < groups; group += slices) {
      const Nonzeros current = next;
      values += slices * Tile::kRows, columns += slices * Tile::kRows;
      next = {*values, *columns};  // on its way while these are multiplied
      multiply_group<Tile>(panel + one, panel + other, current, sums);
    }
  }
  __device__ void store(const ResidentProduct& product, int bundle, const float (&sums)[Tile::kSums]) const {
    const ResidentCsrView& weight = product.weight;
    const int row = weight.row_of[blockIdx.y * weight.places() + bundle * Tile::kRows + place];
    if (row < 0) return;
    const index_t tile = index_t(blockIdx.z) * Tile::kSamples;
    simt::unrolled<Tile::kPacked>([&](auto i) {
      store_four(product, row, Tile::kPacked * (tile + one) + 4 * i, sums + 4 * i);
      store_four(product, row, Tile::kPacked * (tile + other) + 4 * i, sums + Tile::kSums / 2 + 4 * i);
    });
  }
};

// sums of a bundle's first slice += those of its others, in their order, by way of shared memory.
template <int kSums>
__device__ inline void add_slices(int slice, int slices, float* shared, float (&sums)[kSums]) {
  float* mine = shared + (int(threadIdx.y) - slice) * kSums * 32 + int(threadIdx.x);  // the bundle's, this lane's
  __syncthreads();  // nobody reads the panel any more
  simt::unrolled<kSums>([&](auto i) {
    if (slice > 0) mine[(slice * kSums + i) * 32] = sums[i];
  });
  __syncthreads();
  for (int other = 1; slice == 0 && other < slices; ++other) {
    simt::unrolled<kSums>([&](auto i) { sums[i] += mine[(other * kSums + i) * 32]; });
  }
}

template <class Tile>
__global__ void __launch_bounds__(kMaxThreads, 1) csr_resident_spmm_kernel(ResidentProduct product) {
  float* panel = simt::dynamic_shared<float>();
  load_panel<Tile>(product, panel);
  __syncthreads();
  const ResidentCsrView& weight = product.weight;
  const Lane<Tile> lane;
  const int bundles = int(weight.bundles()), slices = weight.slices;
  int bundle = int(blockIdx.x + gridDim.x * (threadIdx.y / unsigned(slices)));
  if (slices == 1) {
    for (; bundle < bundles; bundle += int(gridDim.x * blockDim.y)) {
      float sums[Tile::kSums] = {};
      lane.multiply(weight, panel, bundle, 0, sums);
      lane.store(product, bundle, sums);
    }
    return;
  }
  const int slice = int(threadIdx.y) % slices;
  float sums[Tile::kSums] = {};
  if (bundle < bundles) lane.multiply(weight, panel, bundle, slice, sums);
  add_slices(slice, slices, panel, sums);
  if (bundle < bundles && slice == 0) lane.store(product, bundle, sums);
}

constexpr int kSquare = 32, kRowsAtOnce = 8, kRowsOfThread = kSquare / kRowsAtOnce;

// y = activation(the chunks' partial sums + bias), transposed: 32 x 32 squares through shared memory.
__global__ void add_chunks_kernel(ResidentProduct product) {
  __shared__ float square[kSquare][kSquare + 1];
  const index_t rows = product.weight.rows, first_row = index_t(blockIdx.x) * kSquare, chunks = product.weight.chunks();
  const index_t first_sample = index_t(blockIdx.y) * kSquare, sample = first_sample + threadIdx.x;
  float sums[kRowsOfThread] = {};
  if (sample < product.batch) {
    const index_t first = first_row + threadIdx.y;
    const float* from = product.partial + first * product.width + sample;
#pragma unroll 4
    for (index_t chunk = 0; chunk < chunks; ++chunk, from += rows * product.width) {
      simt::unrolled<kRowsOfThread>([&](auto i) {
        if (first + i * kRowsAtOnce < rows) sums[i] += from[i * kRowsAtOnce * product.width];
      });
    }
  }
  simt::unrolled<kRowsOfThread>([&](auto i) { square[threadIdx.y + i * kRowsAtOnce][threadIdx.x] = sums[i]; });
  __syncthreads();
  const BiasActivation& epilogue = product.epilogue;
  const index_t row = first_row + threadIdx.x;
  for (int i = int(threadIdx.y); i < kSquare && first_sample + i < product.batch && row < rows; i += kRowsAtOnce) {
    const float bias = epilogue.bias == nullptr ? 0.0f : epilogue.bias[row];
    product.y[(first_sample + i) * rows + row] =
        apply_activation(epilogue.activation, square[threadIdx.x][i] + bias, epilogue.slope);
  }
}

template <class T, int kSamples>
void launch_product(const ResidentProduct& product, cudaStream_t stream) {
  const ResidentCsrView& weight = product.weight;
  const index_t tiles = product.width / weight.tile_samples();
  simt::launch(csr_resident_spmm_kernel<ResidentTile<T, kSamples>>,
               {dim3(unsigned(weight.parts), unsigned(weight.chunks()), unsigned(tiles)),
                dim3(32, unsigned(weight.warps)), std::size_t(weight.shared_bytes()), stream},
               product);
}

index_t width_of(index_t batch, const ResidentCsrView& weight) {
  return ceil_div<index_t>(batch, weight.tile_samples()) * weight.tile_samples();
}

}  // namespace

index_t csr_resident_scratch(index_t batch, const ResidentCsrView& weight) {
  return weight.chunks() == 1 ? 0 : weight.chunks() * weight.rows * width_of(batch, weight);
}

template <class T>
void csr_resident_spmm(index_t batch, const ResidentCsrView& weight, const float* x, const BiasActivation& epilogue,
                       float* y, float* scratch, cudaStream_t stream) {
  require(batch > 0 && weight.rows > 0 && weight.columns > 0, "csr_resident_spmm: batch ", batch, ", weight ",
          weight.rows, " x ", weight.columns, "; all must be at least 1");
  require(weight.warps > 0 && 32 * weight.warps <= kMaxThreads && weight.parts > 0, "csr_resident_spmm: ", weight.parts,
          " parts of ", weight.warps, " warps; blocks of 1 to ", kMaxThreads / 32, " warps are possible");
  require(weight.slices > 0 && weight.warps % weight.slices == 0 &&
              (weight.slices == 1 || index_t(weight.parts) * weight.warps / weight.slices >= weight.bundles()),
          "csr_resident_spmm: ", weight.slices, " warps to a bundle in ", weight.parts, " parts of ", weight.warps,
          " warps, ", weight.bundles(), " bundles; they must divide the warps, and each have one bundle at most");
  require(weight.samples == 8 || weight.samples == 16 || weight.samples == 32, "csr_resident_spmm: tiles of ",
          weight.samples, " samples; there are kernels for 8, 16 and 32");
  require(weight.to_word == kToWord<T>, "csr_resident_spmm: the weight is arranged for ", weight.to_word,
          " samples to a word, x is to be read with ", kToWord<T>, "; make the layout for it");
  require(weight.chunks() == 1 || scratch != nullptr, "csr_resident_spmm: ", weight.chunks(),
          " chunks make partial sums; give scratch of csr_resident_scratch() floats");
  const bool by_fours = weight.columns % 4 == 0 && reinterpret_cast<std::uintptr_t>(x) % 16 == 0;
  const ResidentProduct product{
      batch, weight, x, epilogue, y, weight.chunks() == 1 ? nullptr : scratch, width_of(batch, weight), by_fours};
  require(product.width / weight.tile_samples() <= kMaxGridYZ && weight.chunks() <= kMaxGridYZ,
          "csr_resident_spmm: a batch of ", batch, " is too large for one product; split it");
  if (weight.samples == 8) launch_product<T, 8>(product, stream);
  if (weight.samples == 16) launch_product<T, 16>(product, stream);
  if (weight.samples == 32) launch_product<T, 32>(product, stream);
  if (product.partial == nullptr) return;
  simt::launch(add_chunks_kernel,
               {dim3(unsigned(ceil_div<index_t>(weight.rows, kSquare)), unsigned(ceil_div<index_t>(batch, kSquare))),
                dim3(kSquare, kRowsAtOnce), 0, stream},
               product);
}

template void csr_resident_spmm<float>(index_t, const ResidentCsrView&, const float*, const BiasActivation&, float*,
                                       float*, cudaStream_t);
template void csr_resident_spmm<half>(index_t, const ResidentCsrView&, const float*, const BiasActivation&, float*,
                                      float*, cudaStream_t);
template void csr_resident_spmm<bfloat16>(index_t, const ResidentCsrView&, const float*, const BiasActivation&, float*,
                                          float*, cudaStream_t);

}  // namespace espalier::kernels
