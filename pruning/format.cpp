#include "pruning/format.h"

#include <algorithm>

#include "core/device/stream.h"
#include "kernels/require.h"

namespace espalier::pruning {
namespace {

// Tensors have at least one element, an empty weight has none.
Tensor at_least_one(std::int64_t count, DType type) { return Tensor::empty({std::max<std::int64_t>(count, 1)}, type); }

std::int32_t last_of(const Tensor& row_offsets) { return row_offsets.to_host_as<std::int32_t>().back(); }

}  // namespace

kernels::WeightShape matrix_shape(const Shape& weight) {
  require(weight.rank() >= 2, "a weight ", weight.to_string(), " has no rows and columns; it needs two axes or more");
  return {weight[0], weight.size() / weight[0]};
}

Csr Csr::encode(const Tensor& weight) {
  const kernels::WeightShape shape = matrix_shape(weight.shape());
  Csr csr;
  csr.shape_ = weight.shape();
  csr.row_offsets_ = Tensor::empty({shape.rows + 1}, DType::i32);
  kernels::csr_count(shape, weight.data<float>(), csr.row_offsets_.data<std::int32_t>(), current_stream());
  csr.nonzeros_ = last_of(csr.row_offsets_);
  csr.column_indices_ = at_least_one(csr.nonzeros_, DType::i32);
  csr.values_ = at_least_one(csr.nonzeros_, DType::f32);
  kernels::csr_fill(shape, weight.data<float>(), csr.row_offsets_.data<std::int32_t>(),
                    csr.column_indices_.data<std::int32_t>(), csr.values_.data<float>(), current_stream());
  return csr;
}

Tensor Csr::decode() const {
  Tensor weight = Tensor::empty(shape_);
  kernels::csr_decode(view(), weight.data<float>(), current_stream());
  return weight;
}

kernels::CsrView Csr::view() const {
  const kernels::WeightShape shape = matrix_shape(shape_);
  return {shape.rows,
          shape.columns,
          nonzeros_,
          row_offsets_.data<std::int32_t>(),
          column_indices_.data<std::int32_t>(),
          values_.data<float>()};
}

BlockCsr BlockCsr::encode(const Tensor& weight, const kernels::BlockShape& block) {
  const kernels::WeightShape shape = matrix_shape(weight.shape());
  require(block.rows > 0 && block.columns > 0, "block csr: blocks of ", block.rows, " x ", block.columns,
          "; both must be at least 1");
  BlockCsr blocks;
  blocks.shape_ = weight.shape();
  blocks.block_ = block;
  blocks.row_offsets_ = Tensor::empty({(shape.rows + block.rows - 1) / block.rows + 1}, DType::i32);
  kernels::block_csr_count(shape, block, weight.data<float>(), blocks.row_offsets_.data<std::int32_t>(),
                           current_stream());
  blocks.blocks_ = last_of(blocks.row_offsets_);
  blocks.column_indices_ = at_least_one(blocks.blocks_, DType::i32);
  blocks.values_ = at_least_one(blocks.blocks_ * block.rows * block.columns, DType::f32);
  kernels::block_csr_fill(shape, block, weight.data<float>(), blocks.row_offsets_.data<std::int32_t>(),
                          blocks.column_indices_.data<std::int32_t>(), blocks.values_.data<float>(), current_stream());
  return blocks;
}

Tensor BlockCsr::decode() const {
  Tensor weight = Tensor::empty(shape_);
  kernels::block_csr_decode(view(), weight.data<float>(), current_stream());
  return weight;
}

kernels::BlockCsrView BlockCsr::view() const {
  const kernels::WeightShape shape = matrix_shape(shape_);
  return {shape.rows,
          shape.columns,
          block_.rows,
          block_.columns,
          blocks_,
          row_offsets_.data<std::int32_t>(),
          column_indices_.data<std::int32_t>(),
          values_.data<float>()};
}

std::int64_t TwoFour::violations(const Tensor& weight) {
  const Tensor count = Tensor::empty({1}, DType::i32);
  kernels::two_four_violations(matrix_shape(weight.shape()), weight.data<float>(), count.data<std::int32_t>(),
                               current_stream());
  return count.to_host_as<std::int32_t>().front();
}

TwoFour TwoFour::encode(const Tensor& weight) {
  const std::int64_t broken = violations(weight);
  require(broken == 0, "2:4: ", broken, " groups of four weights hold more than two nonzeros; prune by n_of_m(2, 4)");
  const kernels::WeightShape shape = matrix_shape(weight.shape());
  const kernels::TwoFourView layout{shape.rows, shape.columns};
  TwoFour compressed;
  compressed.shape_ = weight.shape();
  compressed.values_ = Tensor::empty({shape.rows * layout.values_per_row()});
  compressed.metadata_ = Tensor::empty({shape.rows * layout.words_per_row()}, DType::u32);
  kernels::two_four_encode(shape, weight.data<float>(), compressed.values_.data<float>(),
                           compressed.metadata_.data<std::uint32_t>(), current_stream());
  return compressed;
}

Tensor TwoFour::decode() const {
  Tensor weight = Tensor::empty(shape_);
  kernels::two_four_decode(view(), weight.data<float>(), current_stream());
  return weight;
}

kernels::TwoFourView TwoFour::view() const {
  const kernels::WeightShape shape = matrix_shape(shape_);
  return {shape.rows, shape.columns, values_.data<float>(), metadata_.data<std::uint32_t>()};
}

}  // namespace espalier::pruning
