// A weight in the form that a product reads it in: the owners behind the views of kernels/sparse/formats.h.
// Each is made from a dense weight [rows, ...] whose pruned elements are zero (the mask needs not be known: zeros are
// what it leaves), knows its size in memory, and gives the weight back bit for bit.
#pragma once
#include <variant>

#include "core/device/precision.h"
#include "core/tensor/tensor.h"
#include "kernels/sparse/encode.h"

namespace espalier::pruning {

// [rows, columns] of a weight of two axes or more: the trailing axes flattened. Throws InvalidArgument below two.
kernels::WeightShape matrix_shape(const Shape& weight);

class DenseWeight {
 public:
  static DenseWeight encode(const Tensor& weight) { return DenseWeight(weight.clone()); }
  Tensor decode() const { return weight_.clone(); }
  std::int64_t bytes() const { return weight_.bytes(); }

 private:
  explicit DenseWeight(Tensor weight) : weight_(std::move(weight)) {}
  Tensor weight_;
};

class Csr {
 public:
  static Csr encode(const Tensor& weight);  // waits for the device once, to learn the size
  Tensor decode() const;
  std::int64_t bytes() const { return view().bytes(); }
  kernels::CsrView view() const;
  std::vector<std::int32_t> row_offsets() const { return row_offsets_.to_host_as<std::int32_t>(); }

 private:
  Shape shape_;
  std::int64_t nonzeros_ = 0;
  Tensor row_offsets_, column_indices_, values_;
};

// A Csr arranged for csr_slab_spmm() on the current device, at batches of about `batch`; x is read in fp32, fp16 or
// bf16.
class SlabCsr {
 public:
  static bool takes(const Csr& csr) { return csr.view().columns <= kernels::SlabCsrView::kMaxColumns; }
  // Waits for the device, to learn the sizes. Throws InvalidArgument for tf32.
  static SlabCsr encode(const Csr& csr, std::int64_t batch, Precision of_x = Precision::fp32);
  Tensor decode() const;
  std::int64_t bytes() const { return view().bytes(); }
  kernels::SlabCsrView view() const;
  Precision of_x() const { return of_x_; }

 private:
  kernels::SlabCsrView layout_;
  Precision of_x_ = Precision::fp32;
  Tensor first_rows_, column_counts_, block_columns_, parts_, part_of_, row_of_, counts_, group_offsets_;
  Tensor values_, ring_rows_;
};

// A Csr arranged for csr_resident_spmm() on the current device, at batches of about `batch`; x as for SlabCsr.
class ResidentCsr {
 public:
  // Waits for the device once, to learn the size. Throws InvalidArgument for tf32.
  static ResidentCsr encode(const Csr& csr, std::int64_t batch, Precision of_x = Precision::fp32);
  Tensor decode() const;
  std::int64_t bytes() const { return view().bytes(); }
  kernels::ResidentCsrView view() const;
  Precision of_x() const { return of_x_; }

 private:
  kernels::ResidentCsrView layout_;
  Precision of_x_ = Precision::fp32;
  Tensor row_of_, group_offsets_, values_, chunk_columns_;
};

// A Csr arranged for csr_spmv(); its values may be rounded to 16 bits. At most kMaxColumns columns.
template <class T>
class PieceCsr {
 public:
  static bool takes(const Csr& csr) { return csr.view().columns <= kernels::PieceCsrView<T>::kMaxColumns; }
  static PieceCsr encode(const Csr& csr);  // waits for the device once, to learn the size
  Tensor decode() const;
  std::int64_t bytes() const { return view().bytes(); }
  kernels::PieceCsrView<T> view() const;

 private:
  kernels::PieceCsrView<T> layout_;
  Tensor piece_offsets_, column_indices_, values_;
};

class BlockCsr {
 public:
  static BlockCsr encode(const Tensor& weight, const kernels::BlockShape& block);  // waits once, too
  Tensor decode() const;
  std::int64_t bytes() const { return view().bytes(); }
  kernels::BlockCsrView view() const;

 private:
  Shape shape_;
  kernels::BlockShape block_;
  std::int64_t blocks_ = 0;
  Tensor row_offsets_, column_indices_, values_;
};

class TwoFour {
 public:
  // How many groups of four neighbours hold more than two nonzeros; encode() throws InvalidArgument unless it is 0.
  static std::int64_t violations(const Tensor& weight);
  static TwoFour encode(const Tensor& weight);
  Tensor decode() const;
  std::int64_t bytes() const { return view().bytes(); }
  kernels::TwoFourView view() const;

 private:
  Shape shape_;
  Tensor values_, metadata_;
};

using SparseFormat = std::variant<DenseWeight, Csr, BlockCsr, TwoFour>;

inline std::int64_t bytes(const SparseFormat& format) {
  return std::visit([](const auto& weight) { return weight.bytes(); }, format);
}
inline Tensor decode(const SparseFormat& format) {
  return std::visit([](const auto& weight) { return weight.decode(); }, format);
}

}  // namespace espalier::pruning
