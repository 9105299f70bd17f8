// x in the format that tensor cores read, with zeros behind every row: what sparse products that step over whole chunks
// begin with. Memory bound: one read and one write of x.
#pragma once
#include "kernels/shapes.h"
#include "kernels/simt/simt.h"
#include "kernels/sparse/panels.h"

namespace espalier::kernels {

// operand [batch, padded] = x [batch, columns] rounded to T: half, bfloat16, or float for tf32.
template <class T>
void narrow_operand(index_t batch, index_t columns, index_t padded, const float* x, T* operand, cudaStream_t stream);

// How many samples narrow_panels() puts side by side.
inline constexpr index_t kNarrowPanel = 64;

// operand [panels, padded / chunk, 4, 2, 8] of 16 bytes = x [batch, columns] rounded, with zeros behind rows and batch:
// fragments of tensor cores, for lanes that load them straight from memory. A chunk is 16 bytes of a sample; of 16
// samples the first 8 bytes of samples g and g + 8, word by word in turns, are the left operand of one instruction in
// lane g, and their other 8 bytes of the next (simt/tensor_core.h: a[0..3]). `padded` is a multiple of 32.
template <class T>
void narrow_panels(index_t batch, index_t columns, index_t padded, const float* x, T* operand, cudaStream_t stream);

// x as panels (panels.h), rounded: what products gather columns of. shape.width is a multiple of 32.
template <class T>
void narrow_columns(const PanelShape& shape, const float* x, T* panels, cudaStream_t stream);

}  // namespace espalier::kernels
