// The living weights of a pruned matrix by themselves, while training leaves the others out: where they are, a leaf
// that their gradients flow to, and room for their values in the order of the transpose. The dense weight stays the
// truth: forward gathers from it, the update changes it in place, so whoever looks at it sees what it always sees.
#pragma once
#include "core/autograd/variable.h"
#include "kernels/sparse/formats.h"

namespace espalier {

class KeptWeights {
 public:
  // Of a weight of two axes under this mask (u8), of which at least one weight must live. Waits for the device once.
  explicit KeptWeights(const Tensor& keep);
  const kernels::KeptView& view() const { return view_; }

  Variable values;           // [kept], in the order of CSR; written by forward
  Tensor transposed_values;  // [kept], in that of W^T

 private:
  Tensor row_offsets_, column_indices_, places_, column_offsets_, row_indices_, transposed_;
  kernels::KeptView view_;
};

}  // namespace espalier
