#include "pruning/structured_format.h"

#include <algorithm>

#include "core/device/stream.h"
#include "kernels/sparse/block_csr_tensor_core.h"
#include "kernels/sparse/encode_blocked_ell.h"
#include "kernels/sparse/encode_vector_nm.h"
#include "kernels/sparse/two_four_tensor_core.h"

namespace espalier::pruning {

VectorNm VectorNm::encode(const Tensor& weight, std::int64_t height) {
  const BlockCsr blocks = BlockCsr::encode(weight, {height, 1});
  VectorNm made;
  made.shape_ = weight.shape(), made.height_ = height;
  made.group_offsets_ = Tensor::empty({blocks.view().block_grid_rows() + 1}, DType::i32);
  kernels::vector_nm_pad(blocks.view(), made.group_offsets_.data<std::int32_t>(), current_stream());
  made.vectors_ = made.group_offsets_.to_host_as<std::int32_t>().back();
  const std::int64_t room = std::max<std::int64_t>(made.vectors_, 1);  // a tensor has at least one element
  made.column_indices_ = Tensor::empty({room}, DType::i32);
  made.values_ = Tensor::empty({room * height});
  kernels::vector_nm_fill(blocks.view(), made.view(), made.column_indices_.data<std::int32_t>(),
                          made.values_.data<float>(), current_stream());
  return made;
}

Tensor VectorNm::decode() const {
  Tensor weight = Tensor::empty(shape_);
  kernels::vector_nm_decode(view(), weight.data<float>(), current_stream());
  return weight;
}

kernels::VectorNmView VectorNm::view() const {
  const kernels::WeightShape shape = matrix_shape(shape_);
  return {shape.rows,
          shape.columns,
          height_,
          vectors_,
          group_offsets_.data<std::int32_t>(),
          column_indices_.data<std::int32_t>(),
          values_.data<float>()};
}

BlockedEll BlockedEll::encode(const BlockCsr& blocks) {
  const kernels::BlockCsrView from = blocks.view();
  BlockedEll made;
  const Tensor places = Tensor::empty({1}, DType::i32);
  kernels::blocked_ell_places(from, places.data<std::int32_t>(), current_stream());
  made.layout_ = {from.rows, from.columns, from.block_rows, places.to_host_as<std::int32_t>().front()};
  const std::int64_t slots = std::max<std::int64_t>(made.layout_.places, 1);  // a tensor has at least one element
  made.column_indices_ = Tensor::empty({from.block_grid_rows() * slots}, DType::i32);
  made.values_ = Tensor::empty({from.rows * slots * from.block_columns});
  kernels::blocked_ell_fill(from, made.layout_, made.column_indices_.data<std::int32_t>(), made.values_.data<float>(),
                            current_stream());
  return made;
}

Tensor BlockedEll::decode() const {
  Tensor weight = Tensor::empty({layout_.rows, layout_.columns});
  kernels::blocked_ell_decode(view(), weight.data<float>(), current_stream());
  return weight;
}

kernels::BlockedEllView BlockedEll::view() const {
  kernels::BlockedEllView view = layout_;
  view.column_indices = column_indices_.data<std::int32_t>(), view.values = values_.data<float>();
  return view;
}

namespace {

template <class T>
constexpr DType kTypeOf = sizeof(T) == 4                     ? DType::f32
                          : std::is_same_v<T, kernels::half> ? DType::f16
                                                             : DType::bf16;

}  // namespace

template <class T>
std::optional<TwoFourTensor<T>> TwoFourTensor<T>::encode(const Tensor& weight) {
  const kernels::WeightShape shape = matrix_shape(weight.shape());
  const kernels::TwoFourTensorView<T> layout{shape.rows, shape.columns};
  TwoFourTensor made;
  made.shape_ = weight.shape();
  made.values_ = Tensor::empty({layout.values_size()}, kTypeOf<T>);
  made.metadata_ = Tensor::empty({layout.metadata_size()}, DType::u32);
  const Tensor violations = Tensor::empty({1}, DType::i32);
  kernels::two_four_tensor_encode(shape, weight.data<float>(), static_cast<T*>(made.values_.raw()),
                                  made.metadata_.template data<std::uint32_t>(), violations.data<std::int32_t>(),
                                  current_stream());
  if (violations.to_host_as<std::int32_t>().front() > 0) return std::nullopt;
  return made;
}

template <class T>
Tensor TwoFourTensor<T>::decode() const {
  Tensor weight = Tensor::empty(shape_);
  kernels::two_four_tensor_decode(view(), weight.data<float>(), current_stream());
  return weight;
}

template <class T>
kernels::TwoFourTensorView<T> TwoFourTensor<T>::view() const {
  const kernels::WeightShape shape = matrix_shape(shape_);
  return {shape.rows, shape.columns, static_cast<const T*>(values_.raw()), metadata_.data<std::uint32_t>()};
}

template class TwoFourTensor<kernels::half>;
template class TwoFourTensor<kernels::bfloat16>;
template class TwoFourTensor<float>;

template <class T>
typename VnmTensor<T>::Encoded VnmTensor<T>::encode(const Tensor& weight, std::int64_t height, std::int64_t window) {
  VnmTensor made;
  made.shape_ = weight.shape();
  made.layout_ = kernels::vnm_layout<T>(matrix_shape(weight.shape()), height, window);
  const kernels::VnmTensorView<T>& layout = made.layout_;
  made.column_indices_ = Tensor::empty({layout.groups() * layout.kept.padded_columns()}, DType::i32);
  made.values_ = Tensor::empty({layout.kept.values_size()}, kTypeOf<T>);
  made.metadata_ = Tensor::empty({layout.kept.metadata_size()}, DType::u32);
  const Tensor kept = Tensor::empty({layout.rows * layout.kept_columns()}), violations = Tensor::empty({2}, DType::i32);
  kernels::vnm_tensor_encode(layout, weight.data<float>(), kept.data<float>(),
                             made.column_indices_.template data<std::int32_t>(), static_cast<T*>(made.values_.raw()),
                             made.metadata_.template data<std::uint32_t>(),
                             static_cast<kernels::VnmViolations*>(violations.raw()), current_stream());
  const auto counted = violations.to_host_as<std::int32_t>();
  if (counted[0] > 0 || counted[1] > 0) return {std::nullopt, {counted[0], counted[1]}};
  return {std::move(made), {}};
}

template <class T>
Tensor VnmTensor<T>::decode() const {
  Tensor weight = Tensor::empty(shape_);
  const Tensor kept = Tensor::empty({layout_.rows * layout_.kept_columns()});
  kernels::vnm_tensor_decode(view(), kept.data<float>(), weight.data<float>(), current_stream());
  return weight;
}

template <class T>
kernels::VnmTensorView<T> VnmTensor<T>::view() const {
  kernels::VnmTensorView<T> view = layout_;
  view.column_indices = column_indices_.data<std::int32_t>();
  view.kept.values = static_cast<const T*>(values_.raw()), view.kept.metadata = metadata_.data<std::uint32_t>();
  return view;
}

template class VnmTensor<kernels::half>;
template class VnmTensor<kernels::bfloat16>;
template class VnmTensor<float>;

template <class T>
BlockTensor<T> BlockTensor<T>::encode(const Tensor& weight, std::int64_t block) {
  const BlockCsr blocks = BlockCsr::encode(weight, {block, block});
  BlockTensor made;
  made.shape_ = weight.shape(), made.block_ = block;
  made.step_offsets_ = Tensor::empty({blocks.view().block_grid_rows() + 1}, DType::i32);
  kernels::block_tensor_steps<T>(blocks.view(), made.step_offsets_.template data<std::int32_t>(), current_stream());
  made.steps_ = made.step_offsets_.template to_host_as<std::int32_t>().back();
  const std::int64_t room = std::max<std::int64_t>(made.steps_, 1);  // a tensor has at least one element
  made.chunk_columns_ = Tensor::empty({room * kernels::BlockTensorView<T>::kChunks}, DType::i32);
  made.values_ = Tensor::empty({room * block * kernels::BlockTensorView<T>::kDepth}, kTypeOf<T>);
  kernels::block_tensor_fill(blocks.view(), made.view(), made.chunk_columns_.template data<std::int32_t>(),
                             static_cast<T*>(made.values_.raw()), current_stream());
  return made;
}

template <class T>
Tensor BlockTensor<T>::decode() const {
  Tensor weight = Tensor::empty(shape_);
  kernels::block_tensor_decode(view(), weight.data<float>(), current_stream());
  return weight;
}

template <class T>
kernels::BlockTensorView<T> BlockTensor<T>::view() const {
  const kernels::WeightShape shape = matrix_shape(shape_);
  return {shape.rows,
          shape.columns,
          block_,
          steps_,
          step_offsets_.data<std::int32_t>(),
          chunk_columns_.data<std::int32_t>(),
          static_cast<const T*>(values_.raw())};
}

template class BlockTensor<kernels::half>;
template class BlockTensor<kernels::bfloat16>;
template class BlockTensor<float>;

template <class T>
FragmentBlocks<T> FragmentBlocks<T>::encode(const Tensor& weight, std::int64_t tile) {
  const kernels::WeightShape shape = matrix_shape(weight.shape());
  const kernels::FragmentBlocksView<T> layout{.rows = shape.rows, .columns = shape.columns, .tile = tile};
  FragmentBlocks made;
  made.shape_ = weight.shape(), made.tile_ = tile;
  made.step_offsets_ = Tensor::empty({layout.tiles() + 1}, DType::i32);
  const Tensor masks = Tensor::empty({layout.tiles(), layout.fragment_columns()}, DType::u8);
  const Tensor fragment_offsets = Tensor::empty({layout.tiles() + 1}, DType::i32);
  kernels::fragment_blocks_count<T>(layout, weight.data<float>(), masks.data<std::uint8_t>(),
                                    made.step_offsets_.template data<std::int32_t>(),
                                    fragment_offsets.data<std::int32_t>(), current_stream());
  made.steps_ = made.step_offsets_.template to_host_as<std::int32_t>().back();
  made.fragments_ = fragment_offsets.to_host_as<std::int32_t>().back();
  const std::int64_t steps = std::max<std::int64_t>(made.steps_, 1);  // a tensor has at least one element
  made.step_columns_ = Tensor::empty({steps, 2}, DType::i32);
  made.step_parts_ = Tensor::empty({steps * std::int64_t(sizeof(kernels::FragmentStep))}, DType::u8);
  made.values_ = Tensor::empty({std::max<std::int64_t>(made.fragments_, 1) * layout.kFragment}, kTypeOf<T>);
  kernels::fragment_blocks_fill(made.view(), weight.data<float>(), masks.data<std::uint8_t>(),
                                fragment_offsets.data<std::int32_t>(), made.step_columns_.template data<std::int32_t>(),
                                static_cast<kernels::FragmentStep*>(made.step_parts_.raw()),
                                static_cast<T*>(made.values_.raw()), current_stream());
  return made;
}

template <class T>
Tensor FragmentBlocks<T>::decode() const {
  Tensor weight = Tensor::empty(shape_);
  kernels::fragment_blocks_decode(view(), weight.data<float>(), current_stream());
  return weight;
}

template <class T>
kernels::FragmentBlocksView<T> FragmentBlocks<T>::view() const {
  const kernels::WeightShape shape = matrix_shape(shape_);
  return {.rows = shape.rows,
          .columns = shape.columns,
          .tile = tile_,
          .steps = steps_,
          .fragments = fragments_,
          .step_offsets = step_offsets_.data<std::int32_t>(),
          .step_columns = step_columns_.data<std::int32_t>(),
          .step_parts = static_cast<const kernels::FragmentStep*>(step_parts_.raw()),
          .values = static_cast<const T*>(values_.raw())};
}

template class FragmentBlocks<kernels::half>;
template class FragmentBlocks<kernels::bfloat16>;
template class FragmentBlocks<float>;

}  // namespace espalier::pruning
