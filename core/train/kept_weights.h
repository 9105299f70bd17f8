// The living weights of a pruned matrix by themselves, while training leaves the others out: where they are, a leaf
// that their gradients flow to, and room for their values in the order of the transpose. The dense weight stays the
// truth: forward gathers from it, the update changes it in place, so whoever looks at it sees what it always sees.
#pragma once
#include <map>
#include <memory>

#include "core/autograd/variable.h"
#include "core/device/memory.h"
#include "kernels/sparse/formats.h"
#include "kernels/sparse/kept_conv2d.h"
#include "kernels/vendor/sparse.h"

namespace espalier {

// Whose sampled product makes the gradients of a dense layer's kept weights.
enum class SampledBy { ours, vendor };

class KeptWeights {
 public:
  // Of a weight [rows, columns], or of a convolution's [filters, channels / groups, height, width], which is the matrix
  // of its filters, under this mask (u8), of which at least one weight must live. Waits for the device once.
  explicit KeptWeights(const Tensor& keep, std::int64_t groups = 1);
  const kernels::KeptView& view() const { return view_; }
  // Of a convolution: its flipped weight's [channels, filters / groups * window].
  const std::int32_t* flipped_row_offsets() const { return flipped_row_offsets_.data<std::int32_t>(); }
  kernels::KeptColumns flipped() const;

  SampledBy sampled_by = SampledBy::ours;
  // The vendor's, which wants to be prepared once for each batch.
  const kernels::vendor::SampledProduct& sampled_product(std::int64_t batch);

  Variable values;           // [kept], in the order of CSR; written by forward
  Tensor transposed_values;  // [kept], in that of W^T

 private:
  void flip(const Tensor& keep, std::int64_t groups);
  Tensor row_offsets_, column_indices_, places_, column_offsets_, row_indices_, transposed_;
  Tensor flipped_row_offsets_, flipped_columns_, flipped_places_;
  kernels::KeptView view_;
  struct Sampled {
    MemoryPool pool;  // its own: a captured step must find its pool as the run before it did
    Tensor workspace;
    std::unique_ptr<kernels::vendor::SampledProduct> product;
  };
  std::map<std::int64_t, Sampled> sampled_;  // by batch
};

}  // namespace espalier
