#include "kernels/sparse/resident_csr.h"

#include "kernels/elementwise.h"
#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/sparse/running_sum.h"

namespace espalier::kernels {
namespace {

constexpr int kThreads = 256, kSteps = ResidentCsrView::kSteps, kMaxClasses = 4;

simt::Launch places_grid(const ResidentCsrView& layout, cudaStream_t stream,
                         std::source_location where = std::source_location::current()) {
  require(layout.chunks() <= kMaxGridYZ, "resident_csr: ", layout.chunks(),
          " chunks of columns are more than a grid has");
  return {dim3(unsigned(ceil_div<index_t>(layout.places(), kThreads)), unsigned(layout.chunks())), dim3(kThreads), 0,
          stream, where};
}

__global__ void cut_rows_kernel(CsrView csr, ResidentCsrView layout, std::int32_t* __restrict__ segments) {
  const index_t row = index_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= csr.rows) return;
  int i = csr.row_offsets[row];
  const int end = csr.row_offsets[row + 1];
  for (index_t chunk = 0; chunk <= layout.chunks(); ++chunk) {
    while (i < end && csr.column_indices[i] < chunk * layout.chunk) ++i;
    segments[chunk * csr.rows + row] = i;
  }
}

__device__ inline int segment_length(const std::int32_t* segments, index_t rows, index_t row) {
  return segments[rows + row] - segments[row];
}

// A thread for each place: as the row of that number it counts the rows that come before it, the longer first.
__global__ void sort_rows_kernel(ResidentCsrView layout, const std::int32_t* __restrict__ segments,
                                 std::int32_t* __restrict__ row_of) {
  __shared__ std::int32_t lengths[kThreads];
  const index_t rows = layout.rows, row = index_t(blockIdx.x) * kThreads + threadIdx.x;
  segments += blockIdx.y * rows, row_of += blockIdx.y * layout.places();
  const int mine = row < rows ? segment_length(segments, rows, row) : 0;
  index_t before = 0;
  for (index_t first = 0; first < rows; first += kThreads) {
    __syncthreads();
    const index_t other = first + threadIdx.x;
    lengths[threadIdx.x] = other < rows ? segment_length(segments, rows, other) : -1;
    __syncthreads();
    for (int i = 0; i < kThreads; ++i) before += lengths[i] > mine || (lengths[i] == mine && first + i < row) ? 1 : 0;
  }
  if (row < rows) {
    row_of[before] = std::int32_t(row);
  } else if (row < layout.places()) {
    row_of[row] = -1;
  }
}

__global__ void count_bundles_kernel(ResidentCsrView layout, const std::int32_t* __restrict__ segments,
                                     const std::int32_t* __restrict__ row_of, std::int32_t* __restrict__ groups) {
  const index_t bundle = index_t(blockIdx.x) * blockDim.x + threadIdx.x, bundles = layout.bundles();
  if (bundle >= layout.chunks() * bundles) return;
  const index_t chunk = bundle / bundles;
  const index_t longest = row_of[chunk * layout.places() + bundle % bundles * layout.bundle_rows()];
  groups[bundle + 1] = ceil_div(segment_length(segments + chunk * layout.rows, layout.rows, longest), kSteps);
  if (bundle == 0) groups[0] = 0;
}

// The nonzeros of one row in one chunk, each class of columns in ascending order.
class Dealer {
 public:
  __device__ Dealer(const CsrView& csr, int begin, int end, int first_column, int classes)
      : columns_(csr.column_indices), end_(end), first_(first_column), classes_(classes) {
    for (int i = 0; i < classes; ++i) next_[i] = begin;
  }
  // A nonzero of the wanted class, or of the next that has one; -1: all are dealt out.
  __device__ int take(int wanted) {
    for (int i = 0; i < classes_; ++i) {
      const int from = (wanted + i) % classes_;
      int& at = next_[from];
      while (at < end_ && (columns_[at] - first_) % classes_ != from) ++at;
      if (at < end_) return at++;
    }
    return -1;
  }

 private:
  const std::int32_t* columns_;
  int end_, first_, classes_, next_[kMaxClasses];
};

__global__ void fill_bundles_kernel(CsrView csr, ResidentCsrView view, const std::int32_t* __restrict__ segments,
                                    float* __restrict__ values, std::uint16_t* __restrict__ chunk_columns) {
  const index_t place = index_t(blockIdx.x) * kThreads + threadIdx.x, chunk = blockIdx.y;
  if (place >= view.places()) return;
  const int rows = view.bundle_rows(), inside = int(place % rows), first_column = int(chunk) * view.chunk;
  const index_t bundle = chunk * view.bundles() + place / rows, row = view.row_of[chunk * view.places() + place];
  segments += chunk * view.rows;
  Dealer dealer(csr, row < 0 ? 0 : segments[row], row < 0 ? 0 : segments[view.rows + row], first_column,
                view.classes());
  index_t group = view.group_offsets[bundle], end = view.group_offsets[bundle + 1];
  const bool last = bundle + 1 == view.chunks() * view.bundles();
  for (int n = 0; group < end + (last ? view.slices : 0); ++group) {
    for (int step = 0; step < kSteps; ++step, ++n) {
      const int nonzero = group < end ? dealer.take((inside + n) % view.classes()) : -1;
      const index_t at = (group * rows + inside) * kSteps + step;
      values[at] = nonzero < 0 ? 0.0f : csr.values[nonzero];
      chunk_columns[at] = std::uint16_t(nonzero < 0 ? view.chunk : csr.column_indices[nonzero] - first_column);
    }
  }
}

__global__ void resident_csr_decode_kernel(ResidentCsrView view, float* __restrict__ weight) {
  const index_t place = index_t(blockIdx.x) * kThreads + threadIdx.x, chunk = blockIdx.y;
  if (place >= view.places()) return;
  const int rows = view.bundle_rows();
  const index_t bundle = chunk * view.bundles() + place / rows, row = view.row_of[chunk * view.places() + place];
  for (index_t group = view.group_offsets[bundle]; row >= 0 && group < view.group_offsets[bundle + 1]; ++group) {
    for (int step = 0; step < kSteps; ++step) {
      const index_t at = (group * rows + place % rows) * kSteps + step, column = view.chunk_columns[at];
      if (column < view.chunk) weight[row * view.columns + chunk * view.chunk + column] = view.values[at];
    }
  }
}

// Cycles of the busiest multiprocessor. A bundle's nonzero takes eight wavefronts of shared memory, more where short
// tiles meet in its banks; a panel costs three times its bytes, both at 128 bytes a cycle; partial sums are written and
// read at 40, and their launch costs some 2000 cycles, 300 more for each.
struct ResidentCost {
  static constexpr double kLatency = 600;     // of a load, from the second level of cache
  static constexpr double kLoaded = 32 * 24;  // floats of a panel that a warp has under way
  static constexpr double kBusyWarps = 8;     // fewer leave shared memory idle between their loads

  const ResidentCsrView& layout;
  double density;
  index_t tiles;
  const ResidentDevice& device;

  // Of so many blocks side by side.
  double together(index_t blocks) const {
    const double conflicts = layout.samples == 32 ? 1 : layout.samples == 16 ? 1.2 : 1.3;
    const double groups = density * double(layout.chunk) / ResidentCsrView::kSteps + 0.5;  // the last is half full
    const double bundle = 8 * ResidentCsrView::kSteps * groups * conflicts;
    const index_t bundles = ceil_div<index_t>(layout.bundles(), layout.parts);
    const double turns = double(ceil_div<index_t>(bundles, layout.warps / layout.slices)) / layout.slices;
    const double slices = 10.0 * layout.to_word * (layout.slices - 1) * double(blocks * bundles);  // there and back
    const double floats = double(index_t(layout.chunk) * layout.samples);
    const double loads =
        layout.to_word * std::max(0.1 * double(blocks) * floats, kLatency * floats / (kLoaded * layout.warps));
    return loads + bundle * std::max(double(blocks * bundles), kBusyWarps * turns) + slices;
  }
  double cycles(index_t resident) const {
    const index_t chunks = layout.chunks(), blocks = ceil_div(chunks * tiles * layout.parts, device.multiprocessors);
    const double sums =
        0.2 * double(chunks * layout.rows * tiles * layout.tile_samples()) / double(device.multiprocessors);
    return double(blocks / resident) * together(resident) + (blocks % resident > 0 ? together(blocks % resident) : 0) +
           (chunks > 1 ? 2000 + 300 * double(chunks) + sums : 0);
  }
};

// Blocks of that layout that a multiprocessor holds; 0: it has no room for one.
index_t resident_blocks(const ResidentCsrView& layout, const ResidentDevice& device) {
  constexpr index_t kReserved = 1024, kRegisterWarps = 20;  // what a block takes besides; warps by registers
  const index_t bytes = layout.shared_bytes();
  if (bytes > device.shared_bytes) return 0;
  return std::clamp((device.shared_bytes + kReserved) / (bytes + kReserved), index_t(1),
                    std::max<index_t>(kRegisterWarps / layout.warps, 1));
}

}  // namespace

ResidentCsrView resident_csr_layout(const CsrView& csr, index_t batch, const ResidentDevice& device, int to_word) {
  constexpr index_t kMostChunk = 65528, kLeastChunk = 256;
  constexpr int kMostWarps = 16, kMostSlices = 4;
  ResidentCsrView layout;
  layout.rows = csr.rows, layout.columns = csr.columns, layout.to_word = to_word;
  const index_t words = ceil_div<index_t>(batch, to_word);
  const double density = double(csr.nonzeros) / double(csr.rows) / double(csr.columns);
  double least = -1;
  ResidentCsrView best;
  const auto consider = [&] {
    const index_t resident = resident_blocks(layout, device);
    if (resident == 0) return;
    const ResidentCost cost{layout, density, ceil_div<index_t>(words, layout.samples), device};
    const double cycles = cost.cycles(resident);
    if (least < 0 || cycles < least) least = cycles, best = layout;
  };
  for (layout.samples = 8; layout.samples <= (words <= 8 ? 8 : words <= 16 ? 16 : 32); layout.samples *= 2) {
    const index_t room = std::max<index_t>(device.shared_bytes / index_t(sizeof(float)) / layout.samples - 1, 8);
    const index_t least_chunks = ceil_div(csr.columns, std::min(room / 8 * 8, kMostChunk));
    const index_t most_chunks = std::max(least_chunks, std::min(16 * least_chunks, csr.columns / kLeastChunk));
    for (index_t chunks = least_chunks; chunks <= most_chunks; ++chunks) {
      layout.chunk = int(ceil_div(ceil_div(csr.columns, chunks), index_t(8)) * 8);
      for (layout.warps = 4; layout.warps <= kMostWarps; ++layout.warps) {
        const index_t most_parts = std::min(layout.bundles(), 4 * device.multiprocessors);
        for (layout.parts = 1; layout.parts <= most_parts; ++layout.parts) {
          for (layout.slices = 1; layout.slices <= kMostSlices; ++layout.slices) {
            const bool once = index_t(layout.parts) * (layout.warps / layout.slices) >= layout.bundles();
            if (layout.slices == 1 || (layout.warps % layout.slices == 0 && once)) consider();
          }
        }
      }
    }
  }
  return best;
}

void resident_csr_count(const CsrView& csr, const ResidentCsrView& layout, std::int32_t* segments, std::int32_t* row_of,
                        std::int32_t* group_offsets, cudaStream_t stream) {
  require(csr.rows == layout.rows && csr.columns == layout.columns, "resident_csr_count: the weight is ", csr.rows,
          " x ", csr.columns, ", the layout ", layout.rows, " x ", layout.columns);
  require(layout.chunk > 0 && layout.chunk <= 65535 && layout.chunk % 8 == 0, "resident_csr_count: chunks of ",
          layout.chunk, " columns; multiples of 8 up to 65528 are possible");
  simt::launch(cut_rows_kernel, one_thread_per(csr.rows, stream), csr, layout, segments);
  simt::launch(sort_rows_kernel, places_grid(layout, stream), layout, segments, row_of);
  const index_t bundles = layout.chunks() * layout.bundles();
  simt::launch(count_bundles_kernel, one_thread_per(bundles, stream), layout, segments, row_of, group_offsets);
  running_sum(int(bundles) + 1, group_offsets, stream);
}

void resident_csr_fill(const CsrView& csr, const ResidentCsrView& view, const std::int32_t* segments, float* values,
                       std::uint16_t* chunk_columns, cudaStream_t stream) {
  simt::launch(fill_bundles_kernel, places_grid(view, stream), csr, view, segments, values, chunk_columns);
}

void resident_csr_decode(const ResidentCsrView& view, float* weight, cudaStream_t stream) {
  fill(view.rows * view.columns, 0.0f, weight, stream);
  simt::launch(resident_csr_decode_kernel, places_grid(view, stream), view, weight);
}

}  // namespace espalier::kernels
