// How a sparse format is made of what a mask or a weight keeps: a team (a warp on a GPU, one thread on a CPU) walks a
// row, votes which of its next kRowLanes candidates live, and writes the survivors at their rank. Once to count, once
// to fill, with one scan of the counts in between. Device code: for .cu files only.
#pragma once
#include "kernels/grid.h"
#include "kernels/simt/simt.h"
#include "kernels/sparse/running_sum.h"

namespace espalier::kernels {

constexpr int kRowLanes = simt::kContiguousElements ? 1 : 32;  // threads that walk one row together
constexpr int kRowTeams = simt::kContiguousElements ? 1 : 8;   // rows of a block of threads

// visit(rank, i) for every i < count with keep(i), ranks ascending with i; returns how many there are.
// All threads of the team must call it.
template <class Keep, class Visit>
__device__ inline int visit_kept(int count, Keep keep, Visit visit) {
  int before = 0;
  for (int first = 0; first < count; first += kRowLanes) {
    const int i = first + int(threadIdx.x);
    const bool kept = i < count && keep(i);
    if constexpr (kRowLanes == 1) {
      if (kept) visit(before++, i);
    } else {
      const unsigned votes = __ballot_sync(~0u, kept);
      if (kept) visit(before + __popc(votes & ((1u << threadIdx.x) - 1)), i);
      before += __popc(votes);
    }
  }
  return before;
}

// counts[row + 1] = number of columns that `keep` keeps; counts[0] = 0.
template <class Keep>
__global__ void count_kernel(int rows, int columns, Keep keep, std::int32_t* __restrict__ counts) {
  const int row = int(blockIdx.x) * kRowTeams + int(threadIdx.y);
  if (row >= rows) return;
  const int kept = visit_kept(
      columns, [&](int column) { return keep(row, column); }, [](int, int) {});
  if (threadIdx.x != 0) return;
  counts[row + 1] = kept;
  if (row == 0) counts[0] = 0;
}

// write(position, row, column) for every kept element.
template <class Keep, class Write>
__global__ void fill_kernel(int rows, int columns, Keep keep, const std::int32_t* __restrict__ row_offsets,
                            Write write) {
  const int row = int(blockIdx.x) * kRowTeams + int(threadIdx.y);
  if (row >= rows) return;
  const int begin = row_offsets[row];
  visit_kept(
      columns, [&](int column) { return keep(row, column); },
      [&](int rank, int column) { write(begin + rank, row, column); });
}

inline simt::Launch rows_grid(index_t rows, cudaStream_t stream,
                              std::source_location where = std::source_location::current()) {
  return {dim3(unsigned(ceil_div<index_t>(rows, kRowTeams))), dim3(kRowLanes, kRowTeams), 0, stream, where};
}

// row_offsets [rows + 1]: count_kernel(), then the scan.
template <class Keep>
void count_and_scan(int rows, int columns, const Keep& keep, std::int32_t* row_offsets, cudaStream_t stream) {
  simt::launch(count_kernel<Keep>, rows_grid(rows, stream), rows, columns, keep, row_offsets);
  running_sum(rows + 1, row_offsets, stream);
}

}  // namespace espalier::kernels
