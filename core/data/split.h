// Training, validation and test samples as three unrelated types, so that measuring a model on what it was trained on,
// or training on the test set, is a compile error and not a good-looking number.
#pragma once
#include <concepts>
#include <utility>

#include "core/data/dataset.h"

namespace espalier {

template <class Role>
class Split {
 public:
  Split() = default;
  explicit Split(Samples samples) : samples_(std::move(samples)) {}

  std::int64_t size() const { return samples_.size(); }
  Batch batch(std::int64_t first, std::int64_t count) const { return samples_.batch(first, count); }
  Split first(std::int64_t count) const { return Split(samples_.first(count)); }
  const Samples& samples() const { return samples_; }  // without its role: for code that keeps roles apart itself

 private:
  Samples samples_;
};

using TrainSplit = Split<struct TrainRole>;
using ValidationSplit = Split<struct ValidationRole>;
using TestSplit = Split<struct TestRole>;

// What may judge a model.
template <class T>
concept HeldOutSplit = std::same_as<T, ValidationSplit> || std::same_as<T, TestSplit>;

}  // namespace espalier
