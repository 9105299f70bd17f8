// Two walks over the mask, along its rows for W and along its columns for W^T (strided bytes, once in many steps). Each
// entry of W^T finds its place in W by bisection of its row, log2 of a row's length reads.
#include "kernels/sparse/kept.h"

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/sparse/encode_rows.h"

namespace espalier::kernels {
namespace {

struct KeptElement {
  const std::uint8_t* keep;
  int columns;
  __device__ bool operator()(int row, int column) const { return keep[index_t(row) * columns + column] != 0; }
};

struct WriteKept {
  int columns;
  KeptArrays to;
  __device__ void operator()(int position, int row, int column) const {
    to.column_indices[position] = column;
    to.places[position] = row * columns + column;
  }
};

struct KeptTransposed {
  KeptElement element;
  __device__ bool operator()(int column, int row) const { return element(row, column); }
};

struct WriteTransposed {
  const std::int32_t* row_offsets;
  KeptArrays to;
  __device__ void operator()(int position, int column, int row) const {
    int low = row_offsets[row], high = row_offsets[row + 1] - 1;
    while (low < high) {
      const int middle = (low + high) / 2;
      if (to.column_indices[middle] < column)
        low = middle + 1;
      else
        high = middle;
    }
    to.row_indices[position] = row;
    to.transposed[low] = position;
  }
};

__global__ void kept_gather_kernel(KeptView view, const float* __restrict__ weight, float* __restrict__ values,
                                   float* __restrict__ transposed_values) {
  for_each_element(view.kept, [&](std::int64_t i) {
    const float value = weight[view.places[i]];
    values[i] = value;
    if (transposed_values != nullptr) transposed_values[view.transposed[i]] = value;
  });
}

__global__ void kept_scatter_kernel(KeptView view, const float* __restrict__ values, float* __restrict__ weight) {
  for_each_element(view.kept, [&](std::int64_t i) { weight[view.places[i]] = values[i]; });
}

void require_countable(const WeightShape& shape) {
  require(shape.rows > 0 && shape.columns > 0 && shape.size() <= INT32_MAX, "kept weights: the weight is ", shape.rows,
          " x ", shape.columns, "; both must be at least 1 and their product at most ", INT32_MAX);
}

}  // namespace

void kept_count(const WeightShape& shape, const std::uint8_t* keep, std::int32_t* row_offsets, cudaStream_t stream) {
  require_countable(shape);
  count_and_scan(int(shape.rows), int(shape.columns), KeptElement{keep, int(shape.columns)}, row_offsets, stream);
}

void kept_fill(const WeightShape& shape, const std::uint8_t* keep, const std::int32_t* row_offsets,
               const KeptArrays& to, cudaStream_t stream) {
  require_countable(shape);
  const int rows = int(shape.rows), columns = int(shape.columns);
  const KeptElement element{keep, columns};
  simt::launch(fill_kernel<KeptElement, WriteKept>, rows_grid(rows, stream), rows, columns, element, row_offsets,
               WriteKept{columns, to});
  const KeptTransposed transposed{element};
  count_and_scan(columns, rows, transposed, to.column_offsets, stream);
  simt::launch(fill_kernel<KeptTransposed, WriteTransposed>, rows_grid(columns, stream), columns, rows, transposed,
               static_cast<const std::int32_t*>(to.column_offsets), WriteTransposed{row_offsets, to});
}

void kept_gather(const KeptView& view, const float* weight, float* values, float* transposed_values,
                 cudaStream_t stream) {
  if (view.kept == 0) return;
  simt::launch(kept_gather_kernel, elements_grid(view.kept, stream), view, weight, values, transposed_values);
}

void kept_scatter(const KeptView& view, const float* values, float* weight, cudaStream_t stream) {
  if (view.kept == 0) return;
  simt::launch(kept_scatter_kernel, elements_grid(view.kept, stream), view, values, weight);
}

}  // namespace espalier::kernels
