// One pass, a row of the run after the other: neighbouring threads copy neighbouring elements on a GPU, a CPU core
// copies whole runs. It wins against a memcpy in two dimensions where runs are short: one launch, no set-up per row.
#include "kernels/concat.h"

#include "kernels/require.h"
#include "kernels/rows.h"

namespace espalier::kernels {
namespace {

__global__ void copy_columns_kernel(ColumnRun run, const float* __restrict__ from, float* __restrict__ to) {
  for_each_row(run.rows, [=](index_t row) {
    const float* from_row = from + row * run.from_pitch;
    float* to_row = to + row * run.to_pitch;
    for_each_column(run.columns, [=](index_t column) { to_row[column] = from_row[column]; });
  });
}

}  // namespace

void copy_columns(const ColumnRun& run, const float* from, float* to, cudaStream_t stream) {
  require(run.rows >= 0 && run.columns >= 0, "copy_columns: ", run.rows, " rows of ", run.columns, " columns");
  require(run.rows < 2 || (run.from_pitch >= run.columns && run.to_pitch >= run.columns), "copy_columns: rows of ",
          run.columns, " columns would overlap at pitches of ", run.from_pitch, " and ", run.to_pitch);
  if (run.rows == 0 || run.columns == 0) return;
  simt::launch(copy_columns_kernel, rows_grid(run.rows, run.columns, stream), run, from, to);
}

}  // namespace espalier::kernels
