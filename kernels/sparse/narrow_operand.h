// x in the format that tensor cores read, with zeros behind every row: what sparse products that step over whole chunks
// begin with. Memory bound: one read and one write of x.
#pragma once
#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

// operand [batch, padded] = x [batch, columns] rounded to T: half, bfloat16, or float for tf32.
template <class T>
void narrow_operand(index_t batch, index_t columns, index_t padded, const float* x, T* operand, cudaStream_t stream);

}  // namespace espalier::kernels
