// Labelled images on the device and the batches taken from them.
// A Dataset hands out samples by index; Samples are the ones of a Dataset that belong to one split, in their order.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "core/tensor/tensor.h"

namespace espalier {

struct Batch {
  Tensor images;  // f32 [N, C, H, W]
  Tensor labels;  // i32 [N]
  static Batch empty(std::int64_t size, const Shape& image);
  std::int64_t size() const { return labels.shape()[0]; }
};

struct Dataset {
  virtual std::int64_t size() const = 0;
  virtual std::int64_t classes() const = 0;
  virtual Shape image_shape() const = 0;  // [C, H, W] as a batch holds it
  // batch[n] = sample order[first + n], for the whole of `batch`. Only enqueues work on current_stream() and allocates
  // nothing, so it may be captured. order: i32, indices < size().
  virtual void gather(const Tensor& order, std::int64_t first, const Batch& batch) const = 0;
  virtual ~Dataset() = default;
};

class Samples {
 public:
  Samples() = default;  // none
  // Throws InvalidArgument on an index outside the data set.
  Samples(std::shared_ptr<const Dataset> dataset, std::vector<std::int32_t> indices);

  std::int64_t size() const { return std::int64_t(indices_.size()); }
  const std::vector<std::int32_t>& indices() const { return indices_; }
  const Dataset& dataset() const;  // throws InvalidArgument when there are no samples
  Batch batch(std::int64_t first, std::int64_t count) const;
  void gather(std::int64_t first, const Batch& into) const { dataset().gather(order_, first, into); }
  Samples first(std::int64_t count) const;  // all when there are fewer

 private:
  std::shared_ptr<const Dataset> dataset_;
  std::vector<std::int32_t> indices_;
  Tensor order_;  // the indices, on the device
};

}  // namespace espalier
