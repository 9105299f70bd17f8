#include "core/data/dataset.h"

#include <algorithm>

#include "kernels/require.h"

namespace espalier {

Batch Batch::empty(std::int64_t size, const Shape& image) {
  std::vector<std::int64_t> extents{size};
  extents.insert(extents.end(), image.extents().begin(), image.extents().end());
  return {Tensor::empty(Shape(std::move(extents))), Tensor::empty({size}, DType::i32),
          Tensor::empty({size}, DType::i32)};
}

Samples::Samples(std::shared_ptr<const Dataset> dataset, std::vector<std::int32_t> indices)
    : dataset_(std::move(dataset)), indices_(std::move(indices)) {
  if (indices_.empty()) return;
  const std::int64_t known = this->dataset().size();
  for (const std::int32_t index : indices_) {
    require(index >= 0 && index < known, "samples: index ", index, " in a data set of ", known);
  }
  order_ = Tensor::from({size()}, indices_);
}

const Dataset& Samples::dataset() const {
  require(dataset_ != nullptr && !indices_.empty(),
          "this split has no samples; was a validation set asked for when the data was loaded?");
  return *dataset_;
}

Batch Samples::batch(std::int64_t first, std::int64_t count) const {
  require(first >= 0 && count >= 1 && first + count <= size(), "batch: samples ", first, " to ", first + count,
          " of a split of ", size());
  Batch batch = Batch::empty(count, dataset().image_shape());
  gather(first, batch);
  return batch;
}

Samples Samples::first(std::int64_t count) const {
  const auto end = indices_.begin() + std::clamp<std::int64_t>(count, 0, size());
  return Samples(dataset_, std::vector<std::int32_t>(indices_.begin(), end));
}

}  // namespace espalier
