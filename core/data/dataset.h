// Labelled images on the device and the batches taken from them.
// A Dataset hands out samples by index; Samples are the ones of a Dataset that belong to one split, in their order.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "core/tensor/tensor.h"
#include "kernels/augment.h"

namespace espalier {

struct Batch {
  Tensor images;        // f32 [N, C, H, W]
  Tensor labels;        // i32 [N]
  Tensor samples = {};  // i32 [N]: which samples of the data set they are; undefined: nobody asks
  static Batch empty(std::int64_t size, const Shape& image);
  std::int64_t size() const { return labels.shape()[0]; }
};

using kernels::Augmentation;

// Which samples make a batch, and what is done to them.
struct BatchRequest {
  const Tensor& order;                     // i32, indices < size()
  std::int64_t first = 0;                  // the batch is order[first], order[first + 1] ...
  kernels::BatchCursor* cursor = nullptr;  // on the device: says first and epoch instead, and is moved on by the batch
  Augmentation augmentation = {};          // with the numbers of (seed, epoch, sample)
  std::uint64_t seed = 0, epoch = 0;
};

struct Dataset {
  virtual std::int64_t size() const = 0;
  virtual std::int64_t classes() const = 0;
  virtual Shape image_shape() const = 0;  // [C, H, W] as a batch holds it
  // Fills the whole of `batch`. Only enqueues work on current_stream() and allocates nothing, so it may be captured.
  virtual void gather(const BatchRequest& request, const Batch& batch) const = 0;
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
  void gather(std::int64_t first, const Batch& into) const {
    dataset().gather({.order = order_, .first = first}, into);
  }
  Samples first(std::int64_t count) const;  // all when there are fewer

 private:
  std::shared_ptr<const Dataset> dataset_;
  std::vector<std::int32_t> indices_;
  Tensor order_;  // the indices, on the device
};

}  // namespace espalier
