#include "pruning/tensor_cut.h"

#include <cstring>

#include "kernels/require.h"

namespace espalier::pruning {
namespace {

// Copies what stays of one axis and all behind it; `inner` is the size in bytes of one index of it.
class Cutter {
 public:
  Cutter(const Shape& shape, const TensorCut& cut, std::size_t element) : shape_(shape), cut_(cut), element_(element) {}

  void copy(std::size_t axis, const std::byte* from, std::vector<std::byte>& to) const {
    if (axis == cut_.size()) {
      to.insert(to.end(), from, from + bytes_behind(axis));
      return;
    }
    const std::size_t inner = bytes_behind(axis + 1);
    if (cut_[axis].empty()) {
      for (std::int64_t i = 0; i < shape_.extents()[axis]; ++i) copy(axis + 1, from + std::size_t(i) * inner, to);
    }
    for (const std::int64_t i : cut_[axis]) copy(axis + 1, from + std::size_t(i) * inner, to);
  }

 private:
  std::size_t bytes_behind(std::size_t axis) const {
    std::size_t bytes = element_;
    for (std::size_t i = axis; i < shape_.rank(); ++i) bytes *= std::size_t(shape_.extents()[i]);
    return bytes;
  }
  const Shape& shape_;
  const TensorCut& cut_;
  std::size_t element_;
};

}  // namespace

Shape shape_after(const Shape& shape, const TensorCut& cut) {
  require(cut.size() <= shape.rank(), "cut: ", cut.size(), " axes of a tensor ", shape.to_string());
  std::vector<std::int64_t> extents = shape.extents();
  for (std::size_t axis = 0; axis < cut.size(); ++axis) {
    if (!cut[axis].empty()) extents[axis] = std::int64_t(cut[axis].size());
  }
  return Shape(std::move(extents));
}

StoredTensor apply_cut(const StoredTensor& tensor, const TensorCut& cut) {
  StoredTensor result{tensor.type, shape_after(tensor.shape, cut), {}};
  result.bytes.reserve(std::size_t(result.shape.size()) * size_of(tensor.type));
  Cutter(tensor.shape, cut, size_of(tensor.type)).copy(0, tensor.bytes.data(), result.bytes);
  return result;
}

}  // namespace espalier::pruning
