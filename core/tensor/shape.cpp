#include "core/tensor/shape.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "kernels/require.h"

namespace espalier {

Shape::Shape(std::initializer_list<std::int64_t> extents) : Shape(std::vector<std::int64_t>(extents)) {}

Shape::Shape(std::vector<std::int64_t> extents) : extents_(std::move(extents)) {
  std::int64_t size = 1;
  for (const std::int64_t extent : extents_) {
    require(extent >= 1, "shape ", to_string(), " has an extent below 1; every axis needs at least one element");
    require(!__builtin_mul_overflow(size, extent, &size) && size <= INT64_MAX / 16, "shape ", to_string(),
            " has more elements than can be addressed");
  }
}

std::int64_t Shape::operator[](std::ptrdiff_t axis) const {
  const auto rank = std::ptrdiff_t(extents_.size());
  require(axis >= -rank && axis < rank, "axis ", axis, " of ", to_string(), " does not exist; it has ", rank, " axes");
  return extents_[std::size_t(axis < 0 ? axis + rank : axis)];
}

std::int64_t Shape::size() const {
  std::int64_t size = 1;
  for (const std::int64_t extent : extents_) size *= extent;
  return size;
}

Shape Shape::with_batch(std::int64_t batch) const {
  require(!extents_.empty(), "a scalar has no batch axis to replace");
  std::vector<std::int64_t> extents = extents_;
  extents.front() = batch;
  return Shape(std::move(extents));
}

std::string Shape::to_string() const { return fmt::format("[{}]", fmt::join(extents_, ", ")); }

}  // namespace espalier
