#include "kernels/sparse/piece_csr.h"

#include "kernels/elementwise.h"
#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/sparse/running_sum.h"

namespace espalier::kernels {
namespace {

constexpr int kPiece = PieceCsrView<float>::kPiece;
constexpr int kLanes = 32;  // neighbouring threads write neighbouring nonzeros of a row
constexpr int kRowsOfBlock = 8;

simt::Launch rows_grid(index_t rows, cudaStream_t stream,
                       std::source_location where = std::source_location::current()) {
  return {dim3(unsigned(ceil_div<index_t>(rows, kRowsOfBlock))), dim3(kLanes, kRowsOfBlock), 0, stream, where};
}

__device__ inline index_t row_of_team() { return index_t(blockIdx.x) * kRowsOfBlock + threadIdx.y; }

__global__ void count_pieces_kernel(CsrView csr, std::int32_t* __restrict__ counts) {
  const index_t row = index_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= csr.rows) return;
  counts[row + 1] = ceil_div(csr.row_offsets[row + 1] - csr.row_offsets[row], kPiece);
  if (row == 0) counts[0] = 0;
}

template <class T>
__global__ void fill_pieces_kernel(CsrView csr, const std::int32_t* __restrict__ piece_offsets,
                                   std::uint16_t* __restrict__ column_indices, T* __restrict__ values) {
  const index_t row = row_of_team();
  if (row >= csr.rows) return;
  const int begin = csr.row_offsets[row], count = csr.row_offsets[row + 1] - begin;
  const index_t first = index_t(piece_offsets[row]) * kPiece;
  const int pieces = ceil_div(count, kPiece);
  for (int i = int(threadIdx.x); i < pieces * kPiece; i += kLanes) {
    column_indices[first + PieceCsrView<T>::column_place(i, pieces)] =
        std::uint16_t(i < count ? csr.column_indices[begin + i] : csr.columns);
    values[first + i] = from_float<T>(i < count ? csr.values[begin + i] : 0.0f);
  }
}

template <class T>
__global__ void piece_csr_decode_kernel(PieceCsrView<T> view, float* __restrict__ weight) {
  const index_t row = row_of_team();
  if (row >= view.rows) return;
  const index_t first = index_t(view.piece_offsets[row]) * kPiece;
  const int pieces = view.piece_offsets[row + 1] - view.piece_offsets[row];
  for (int i = int(threadIdx.x); i < pieces * kPiece; i += kLanes) {
    const index_t column = view.column_indices[first + PieceCsrView<T>::column_place(i, pieces)];
    if (column < view.columns) weight[row * view.columns + column] = to_float(view.values[first + i]);
  }
}

}  // namespace

void piece_csr_count(const CsrView& csr, std::int32_t* piece_offsets, cudaStream_t stream) {
  require(csr.columns <= PieceCsrView<float>::kMaxColumns, "piece_csr_count: ", csr.columns,
          " columns do not fit 16 bits; at most ", PieceCsrView<float>::kMaxColumns, " do");
  simt::launch(count_pieces_kernel, one_thread_per(csr.rows, stream), csr, piece_offsets);
  running_sum(int(csr.rows) + 1, piece_offsets, stream);
}

template <class T>
void piece_csr_fill(const CsrView& csr, const std::int32_t* piece_offsets, std::uint16_t* column_indices, T* values,
                    cudaStream_t stream) {
  simt::launch(fill_pieces_kernel<T>, rows_grid(csr.rows, stream), csr, piece_offsets, column_indices, values);
}

template <class T>
void piece_csr_decode(const PieceCsrView<T>& view, float* weight, cudaStream_t stream) {
  fill(view.rows * view.columns, 0.0f, weight, stream);
  simt::launch(piece_csr_decode_kernel<T>, rows_grid(view.rows, stream), view, weight);
}

template void piece_csr_fill(const CsrView&, const std::int32_t*, std::uint16_t*, float*, cudaStream_t);
template void piece_csr_fill(const CsrView&, const std::int32_t*, std::uint16_t*, half*, cudaStream_t);
template void piece_csr_fill(const CsrView&, const std::int32_t*, std::uint16_t*, bfloat16*, cudaStream_t);
template void piece_csr_decode(const PieceCsrView<float>&, float*, cudaStream_t);
template void piece_csr_decode(const PieceCsrView<half>&, float*, cudaStream_t);
template void piece_csr_decode(const PieceCsrView<bfloat16>&, float*, cudaStream_t);

}  // namespace espalier::kernels
