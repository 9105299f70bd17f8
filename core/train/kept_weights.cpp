#include "core/train/kept_weights.h"

#include "core/device/stream.h"
#include "kernels/require.h"
#include "kernels/sparse/kept.h"

namespace espalier {
namespace {

Tensor indices(std::int64_t count) { return Tensor::empty({count}, DType::i32); }

}  // namespace

KeptWeights::KeptWeights(const Tensor& keep, std::int64_t groups) {
  const std::int64_t rank = keep.shape().rank();
  require(rank == 2 || rank == 4, "kept weights: a mask ", keep.shape().to_string(),
          "; it must have two axes, or the four of a convolution");
  const kernels::WeightShape shape{keep.shape()[0], keep.size() / keep.shape()[0]};
  row_offsets_ = indices(shape.rows + 1);
  column_offsets_ = indices(shape.columns + 1);
  const auto mask = keep.data<std::uint8_t>();
  kernels::kept_count(shape, mask, row_offsets_.data<std::int32_t>(), current_stream());
  const std::int64_t kept = row_offsets_.to_host_as<std::int32_t>().back();
  require(kept > 0, "kept weights: nothing of a weight ", keep.shape().to_string(), " lives");
  for (Tensor* array : {&column_indices_, &places_, &row_indices_, &transposed_}) *array = indices(kept);
  const kernels::KeptArrays arrays{column_indices_.data<std::int32_t>(), places_.data<std::int32_t>(),
                                   column_offsets_.data<std::int32_t>(), row_indices_.data<std::int32_t>(),
                                   transposed_.data<std::int32_t>()};
  kernels::kept_fill(shape, mask, row_offsets_.data<std::int32_t>(), arrays, current_stream());
  values = Variable(Tensor::empty({kept}), Gradient::required);
  transposed_values = Tensor::empty({kept});
  view_ = {shape.rows,
           shape.columns,
           kept,
           row_offsets_.data<std::int32_t>(),
           arrays.column_indices,
           arrays.places,
           arrays.column_offsets,
           arrays.row_indices,
           arrays.transposed};
  if (rank == 4) flip(keep, groups);
}

void KeptWeights::flip(const Tensor& keep, std::int64_t groups) {
  const Shape& shape = keep.shape();
  const kernels::Conv2dShape convolution{.channels = shape[1] * groups,
                                         .filters = shape[0],
                                         .kernel_height = shape[2],
                                         .kernel_width = shape[3],
                                         .groups = groups};
  flipped_row_offsets_ = indices(convolution.channels + 1);
  flipped_columns_ = indices(view_.kept);
  flipped_places_ = indices(view_.kept);
  kernels::kept_flip(convolution, keep.data<std::uint8_t>(),
                     {flipped_row_offsets_.data<std::int32_t>(), flipped_columns_.data<std::int32_t>(),
                      flipped_places_.data<std::int32_t>()},
                     current_stream());
}

const kernels::vendor::SampledProduct& KeptWeights::sampled_product(std::int64_t batch) {
  Sampled& sampled = sampled_[batch];
  if (!sampled.product) {
    auto product = std::make_unique<kernels::vendor::SampledProduct>(view_, batch);
    const PoolScope scope(sampled.pool);
    sampled.workspace = Tensor::empty({product->workspace_floats() + 1});
    product->prepare(sampled.workspace.data<float>(), current_stream());
    sampled.product = std::move(product);
  }
  return *sampled.product;
}

kernels::KeptColumns KeptWeights::flipped() const {
  return {view_.kept, flipped_columns_.data<std::int32_t>(), flipped_places_.data<std::int32_t>()};
}

}  // namespace espalier
