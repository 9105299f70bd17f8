// The input gradient of a stride of 2 by stencil (conv2d_stencil.h). With a padding of p, which is odd, input x meets
// output o by tap t where x + p = 2 o + t. Of a cell, inputs 2 a and 2 a + 1, the first meets o = a + (p - 1) / 2 by
// the middle tap, the second that one by the last tap and its neighbour by the first: each weight is used once for each
// cell, none for an inserted zero. Further blocks may add the parts of the weight gradient.
#include "kernels/conv2d_stencil_kernel.h"

namespace espalier::kernels {
namespace {

// Which floats of a run a warp's lanes store at a time, as vectors. The 8, 16 or 32 lanes that shared memory serves
// together take no more of the rows, `pitch` floats apart there, than lie in different banks, and the warp whole
// sectors.
struct RunLanes {
  int vector, offset, step;  // offset: the lane's first float; none for a lane that stays idle
  static constexpr int kIdle = 1 << 30;

  __device__ RunLanes(int vector, int width, int pitch) : vector(vector) {
    constexpr int kBanks = 32;
    const int together = kBanks / vector, lane = int(threadIdx.x) % 32;
    int floats = width < pitch && pitch <= kBanks ? kBanks / pitch * width : kBanks;
    const int unit = vector == 1 ? 8 : 4;
    if (floats >= unit) floats -= floats % unit;
    offset = lane % together * vector;
    if (offset + vector > floats) offset = kIdle;
    offset += lane / together * floats;
    step = vector * floats;
  }
};

// dx [batch, groups * filters, height, width] from strips of cells. A lane's results are every eighth of four rows:
// filter by filter they gather in shared memory [filter groups, images, rows of cells, 4 rows, 8 columns a strip],
// whence neighbouring lanes store neighbouring floats.
struct CellSink : LoneSink {
  static constexpr bool kCells = true;

  CellSink(float* dx, const Conv2dShape& shape, const WeightParts& parts)
      : dx(dx), height(int(shape.height)), width(int(shape.width)), sum{parts} {
    const bool pairs = reinterpret_cast<std::uintptr_t>(dx) % 8 == 0 && width % 2 == 0;
    vector = rows_aligned(dx, shape.width) ? 4 : pairs ? 2 : 1;
  }

  float* dx;
  int height, width, vector;  // floats that a lane stores at a time
  JoinedSum sum;

  simt::Launch join(const simt::Launch& launch) const { return sum.join(launch); }
  __device__ bool takes_block(const StencilPlan& plan) const {
    return sum.takes_block(plan.tile.image_blocks * plan.tile.tiles_down * plan.tile.tiles_across);
  }
  __device__ void begin(const StencilPlan&, const StencilPlace&, const float*, const char*) const {}

  template <int kFilters>
  __device__ void store(const StencilPlan& plan, const StencilPlace& at, index_t image,
                        const StencilSums<4 * kFilters>& sums, const float*, char* scratch) const {
    const StencilTile& tile = plan.tile;
    float* stage = reinterpret_cast<float*>(scratch);
    const int group = (at.filter - at.block_filter) / kFilters;
    const int row = group * tile.cell_group_pitch() + (at.image * tile.down + at.down) * tile.cell_row_pitch();
    float4* to = reinterpret_cast<float4*>(stage + row + 2 * kStripColumns * at.across);
#pragma unroll
    for (int f = 0; f < kFilters; ++f) {
      __syncthreads();  // all have left the last filter
      if (at.active) stage_cells(sums + 4 * f, 2 * tile.across, to);
      __syncthreads();
      unload(plan, at, image, {kFilters, f}, stage);
    }
  }

 private:
  // The four rows of a filter's strip of cells. Lanes 4 to 7 of eight store the right half of each row first.
  __device__ static void stage_cells(const float (*sums)[kStripRows][kStripColumns], int pitch, float4* to) {
    const int right = int(threadIdx.x) / 4 % 2;
#pragma unroll
    for (int row = 0; row < 2 * kStripRows; ++row) {
      const float(&even)[kStripColumns] = sums[row % 2 * 2][row / 2];
      const float(&odd)[kStripColumns] = sums[row % 2 * 2 + 1][row / 2];
      const float4 halves[2] = {make_float4(even[0], odd[0], even[1], odd[1]),
                                make_float4(even[2], odd[2], even[3], odd[3])};
      to[row * pitch + right] = right == 0 ? halves[0] : halves[1];
      to[row * pitch + 1 - right] = right == 0 ? halves[1] : halves[0];
    }
  }

  // Of filters that a thread makes, the one that is staged.
  struct StagedFilter {
    int of, filter;
  };

  // The staged planes, or rows of a tile that has only a part of each, a warp to one.
  __device__ void unload(const StencilPlan& plan, const StencilPlace& at, index_t image, const StagedFilter& staged,
                         const float* stage) const {
    const StencilProblem& p = plan.problem;
    const StencilTile& tile = plan.tile;
    const int warp = int(threadIdx.x) / 32, warps = plan.block_threads / 32;
    const int pitch = 2 * kStripColumns * tile.across, first_row = 2 * at.row, first_column = 2 * at.column;
    const int rows_left = height - first_row, rows = 4 * tile.down < rows_left ? 4 * tile.down : rows_left;
    const int columns = pitch < width - first_column ? pitch : width - first_column;
    const bool whole = tile.tiles_across == 1;
    const int runs = whole ? 1 : rows, count = whole ? rows * width : columns;
    const RunLanes lanes(vector, columns, pitch);
    const float a_column = 1.0f / float(columns);  // a tile has too few elements for its rounding to matter
    for (int run = warp; run < tile.filter_groups * tile.images * runs; run += warps) {
      const int plane = run / runs, line = run - plane * runs, group = plane / tile.images,
                n = plane - group * tile.images;
      const int filter = at.block_filter + group * staged.of + staged.filter;
      if (filter >= p.filters || image + n >= p.batch) continue;
      float* to = dx + (((image + n) * p.groups + at.group) * p.filters + filter) * height * width +
                  (first_row + line) * width + first_column;
      const float* from = stage + group * tile.cell_group_pitch() + n * tile.down * tile.cell_row_pitch();
      for (int i = lanes.offset - sector_offset(to); i - lanes.offset < count; i += lanes.step) {
        if (unsigned(i) >= unsigned(count)) continue;
        const int down = int((float(i) + 0.5f) * a_column), column = i - down * columns, row = line + down;
        copy_vector(vector, from + row / 4 * tile.cell_row_pitch() + row % 4 * pitch + column, to + i);
      }
    }
  }
};

}  // namespace

void conv2d_backward_input_cells(const Conv2dShape& shape, const float* dy, const float* w, float* dx,
                                 const WeightParts& parts, cudaStream_t stream) {
  launch_stencil<StencilTurn::yes>(stencil_plan(shape, StencilUse::input_gradient), PlaneSource{dy}, w,
                                   CellSink(dx, shape, parts), stream);
}

}  // namespace espalier::kernels
