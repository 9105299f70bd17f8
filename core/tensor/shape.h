// The extents of a tensor, outermost first. Every extent is at least 1.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

namespace espalier {

class Shape {
 public:
  Shape() = default;                                   // rank 0, size 1: a scalar
  Shape(std::initializer_list<std::int64_t> extents);  // throws InvalidArgument on an extent < 1 or an overflow
  explicit Shape(std::vector<std::int64_t> extents);

  std::size_t rank() const { return extents_.size(); }
  std::int64_t operator[](std::ptrdiff_t axis) const;  // negative counts from the end: [-1] is the innermost
  std::int64_t size() const;                           // product of the extents
  const std::vector<std::int64_t>& extents() const { return extents_; }
  Shape with_batch(std::int64_t batch) const;  // the same with the outermost extent replaced
  std::string to_string() const;               // "[128, 1, 28, 28]"
  bool operator==(const Shape&) const = default;

 private:
  std::vector<std::int64_t> extents_;
};

}  // namespace espalier
