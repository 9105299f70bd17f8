#include "kernels/pattern.h"

#include "kernels/grid.h"
#include "kernels/require.h"

namespace espalier::kernels {

// One thread per run: a run is read once into registers or cache and each member counts those that beat it.
__global__ void keep_n_of_m_kernel(MatrixShape shape, int n, int m, const float* __restrict__ score,
                                   std::uint8_t* __restrict__ keep) {
  const index_t runs_per_row = (shape.columns + m - 1) / m;
  for_each_element(shape.rows * runs_per_row, [=](index_t run) {
    const index_t row = run / runs_per_row, first = run % runs_per_row * m;
    const int width = int(shape.columns - first < m ? shape.columns - first : m);
    const float* const candidates = score + row * shape.columns + first;
    for (int i = 0; i < width; ++i) {
      int beaten_by = 0;
      for (int j = 0; j < width; ++j) {
        beaten_by += candidates[j] > candidates[i] || (candidates[j] == candidates[i] && j < i);
      }
      keep[row * shape.columns + first + i] = beaten_by < n;
    }
  });
}

__global__ void bury_pruned_kernel(index_t count, const std::uint8_t* __restrict__ keep, float* __restrict__ score) {
  for_each_element(count, [=](index_t i) { score[i] = keep[i] ? score[i] : -INFINITY; });
}

void keep_n_of_m(const MatrixShape& shape, int n, int m, const float* score, std::uint8_t* keep, cudaStream_t stream) {
  require(1 <= n && n <= m && m <= 32, "keep_n_of_m: ", n, " of ", m, "; needs 1 <= n <= m <= 32");
  const index_t runs = shape.rows * ceil_div<index_t>(shape.columns, m);
  if (runs > 0) simt::launch(keep_n_of_m_kernel, elements_grid(runs, stream), shape, n, m, score, keep);
}

void bury_pruned(index_t count, const std::uint8_t* keep, float* score, cudaStream_t stream) {
  if (count > 0) simt::launch(bury_pruned_kernel, elements_grid(count, stream), count, keep, score);
}

}  // namespace espalier::kernels
