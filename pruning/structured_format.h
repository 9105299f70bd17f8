// Owners of the weights whose structure the fast sparse kernels live on; see format.h for what an owner does.
#pragma once
#include <optional>

#include "kernels/simt/half.h"
#include "kernels/sparse/formats.h"
#include "kernels/sparse/fragment_blocks.h"
#include "kernels/sparse/vnm_tensor_core.h"
#include "pruning/format.h"

namespace espalier::pruning {

class VectorNm {
 public:
  static VectorNm encode(const Tensor& weight, std::int64_t height);  // waits for the device twice
  Tensor decode() const;
  std::int64_t bytes() const { return view().bytes(); }
  kernels::VectorNmView view() const;

 private:
  Shape shape_;
  std::int64_t height_ = 0, vectors_ = 0;
  Tensor group_offsets_, column_indices_, values_;
};

// Square blocks in Blocked-ELL; rows and columns of the weight are multiples of the block.
class BlockedEll {
 public:
  static BlockedEll encode(const BlockCsr& blocks);  // waits for the device once
  Tensor decode() const;
  std::int64_t bytes() const { return view().bytes(); }
  kernels::BlockedEllView view() const;

 private:
  kernels::BlockedEllView layout_;
  Tensor column_indices_, values_;
};

// 2:4 (of tf32: 1:2) as sparse tensor cores read it, rounded to T: half, bfloat16, or float for tf32.
template <class T>
class TwoFourTensor {
 public:
  // Waits once, to learn whether the weight obeys; nothing where it does not.
  static std::optional<TwoFourTensor> encode(const Tensor& weight);
  Tensor decode() const;
  std::int64_t bytes() const { return view().bytes(); }
  kernels::TwoFourTensorView<T> view() const;

 private:
  Shape shape_;
  Tensor values_, metadata_;
};

// V:N:M as sparse tensor cores read it, rounded to T.
template <class T>
class VnmTensor {
 public:
  struct Encoded {
    std::optional<VnmTensor> weight;    // nothing where the weight does not obey
    kernels::VnmViolations violations;  // why
  };
  static Encoded encode(const Tensor& weight, std::int64_t height, std::int64_t window);  // waits once
  Tensor decode() const;
  std::int64_t bytes() const { return view().bytes(); }
  kernels::VnmTensorView<T> view() const;

 private:
  Shape shape_;
  kernels::VnmTensorView<T> layout_;
  Tensor column_indices_, values_, metadata_;
};

// Square blocks of 8, 16 or 32 as tensor cores read them, rounded to T.
template <class T>
class BlockTensor {
 public:
  static BlockTensor encode(const Tensor& weight, std::int64_t block);  // waits for the device twice
  Tensor decode() const;
  std::int64_t bytes() const { return view().bytes(); }
  kernels::BlockTensorView<T> view() const;

 private:
  Shape shape_;
  std::int64_t block_ = 0, steps_ = 0;
  Tensor step_offsets_, chunk_columns_, values_;
};

// Blocks of 16 rows x 32 bytes that hold a nonzero, as instructions of tensor cores read them, rounded to T.
template <class T>
class FragmentBlocks {
 public:
  // In tiles of 64 or 128 rows; waits for the device twice.
  static FragmentBlocks encode(const Tensor& weight, std::int64_t tile = 64);
  Tensor decode() const;
  std::int64_t bytes() const { return view().bytes(); }
  kernels::FragmentBlocksView<T> view() const;

 private:
  Shape shape_;
  std::int64_t tile_ = 64, steps_ = 0, fragments_ = 0;
  Tensor step_offsets_, step_columns_, step_parts_, values_;
};

}  // namespace espalier::pruning
