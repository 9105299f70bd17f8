// CSR -> PieceCsrView and back, on the device; once per weight. decode(encode(w)) == w, rounded to T.
// Two steps as in encode.h: count leaves the scanned offsets of the rows' pieces, whose last element is the size to
// allocate, fill writes columns and values. 8 bytes read and up to 6 written per nonzero.
#pragma once
#include "kernels/simt/half.h"
#include "kernels/simt/simt.h"
#include "kernels/sparse/formats.h"

namespace espalier::kernels {

// piece_offsets [rows + 1]
void piece_csr_count(const CsrView& csr, std::int32_t* piece_offsets, cudaStream_t stream);
// column_indices and values [piece_offsets[rows], kPiece], at multiples of 16 bytes
template <class T>
void piece_csr_fill(const CsrView& csr, const std::int32_t* piece_offsets, std::uint16_t* column_indices, T* values,
                    cudaStream_t stream);
// weight [rows, columns]
template <class T>
void piece_csr_decode(const PieceCsrView<T>& view, float* weight, cudaStream_t stream);

}  // namespace espalier::kernels
