// How strips leave a block that holds whole rows of them where a row is no whole sectors: by way of shared memory [rows
// of a strip, filter groups, filters, strips of a plane, 4], half of a thread's filters at a time. The two rows of a
// row of strips are one run of memory, which half a warp stores, four floats a lane; two such runs are whole sectors.
// The steps from one to the next are the same for all: no division, and three barriers where a filter at a time took
// two each. Lanes of a half warp read neighbouring floats: of a width of 4 n + 2 by pairs, where first and second ones
// each meet every bank once since both rows of a strip begin at the same bank.
#pragma once
#include "kernels/conv2d_stencil_sources.h"

namespace espalier::kernels {

// The part of a staged filter group that a warp stores: rows of strips, counted through all planes.
struct StripRows {
  int group;               // of the block
  int first, step, count;  // the half warp's, and how many there are
  int rows;                // of a plane

  __device__ StripRows(const StencilPlan& plan, const StencilPlace& at, int first_filter, int filters) {
    const StencilProblem& p = plan.problem;
    const int warp = int(threadIdx.x) / 32, team = plan.block_threads / 32 / plan.tile.filter_groups;
    group = warp / team;
    first = 2 * (warp - group * team) + int(threadIdx.x) % 32 / 16, step = 2 * team;
    const int rows_left = (p.out_height - at.row) / kStripRows;
    rows = plan.tile.down < rows_left ? plan.tile.down : rows_left;
    const int left = p.filters - (at.block_filter + group * plan.filters_per_thread + first_filter);
    count = group < plan.tile.filter_groups ? (filters < left ? filters : left) * rows : 0;
  }
};

// `from` and `to` are the group's first plane, there its first row in the tile. kRun floats lie in one row.
template <int kRun>
__device__ inline void store_strip_rows(const StencilPlan& plan, const StripRows& part, const float* from, float* to) {
  const StencilTile& tile = plan.tile;
  const int width = plan.problem.out_width, run = kStripRows * width, plane = plan.problem.out_height * width;
  const int pitch = kStripColumns * tile.across, column = 4 * (int(threadIdx.x) % 16);
  if (column >= run) return;
  const auto staged = [&](int i) { return i < width ? i : tile.lower_rows + i - width; };
  const int planes = part.first / part.rows, step_planes = part.step / part.rows;
  int row = part.first - planes * part.rows;
  const int step_rows = part.step - step_planes * part.rows;
  from += staged(column) + (planes * tile.down + row) * pitch;
  to += column + planes * plane + row * run;
  const int second = staged(column + 2) - staged(column);
  for (int i = part.first; i < part.count; i += part.step) {
    float4 four;
    if constexpr (kRun == 4) {
      four = *reinterpret_cast<const float4*>(from);
    } else {
      const float2 one = *reinterpret_cast<const float2*>(from), two = *reinterpret_cast<const float2*>(from + second);
      four = make_float4(one.x, one.y, two.x, two.y);
    }
    *reinterpret_cast<float4*>(to) = four;
    row += step_rows;
    from += (step_planes * tile.down + step_rows) * pitch, to += step_planes * plane + step_rows * run;
    if (row >= part.rows) {
      row -= part.rows;
      from += (tile.down - part.rows) * pitch, to += plane - part.rows * run;
    }
  }
}

}  // namespace espalier::kernels
