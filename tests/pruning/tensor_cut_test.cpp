#include "pruning/tensor_cut.h"

#include <doctest/doctest.h>

#include <cstring>

#include "kernels/require.h"

namespace espalier::pruning {
namespace {

template <class T>
StoredTensor counting(const Shape& shape) {
  std::vector<T> values(std::size_t(shape.size()));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = T(i);
  return StoredTensor::of(Tensor::from(shape, values));
}

template <class T>
std::vector<T> values_of(const StoredTensor& tensor) {
  std::vector<T> values(tensor.bytes.size() / sizeof(T));
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

TEST_CASE("tensor cut: keeps the listed rows and columns, of any type, and whole axes where nothing is listed") {
  const StoredTensor floats = counting<float>({3, 4});
  CHECK(values_of<float>(apply_cut(floats, {{0, 2}, {1, 3}})) == std::vector<float>{1, 3, 9, 11});
  CHECK(values_of<float>(apply_cut(floats, {{1}})) == std::vector<float>{4, 5, 6, 7});
  CHECK(values_of<float>(apply_cut(floats, {{}, {2}})) == std::vector<float>{2, 6, 10});
  CHECK(apply_cut(floats, {}) == floats);
  const StoredTensor bytes = counting<std::uint8_t>({2, 3, 2, 2});
  const StoredTensor cut = apply_cut(bytes, {{}, {0, 2}});
  CHECK(cut.shape == Shape{2, 2, 2, 2});
  CHECK(values_of<std::uint8_t>(cut) ==
        std::vector<std::uint8_t>{0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 20, 21, 22, 23});
  CHECK_THROWS_AS(apply_cut(counting<float>({3}), {{0}, {1}}), InvalidArgument);
}

}  // namespace
}  // namespace espalier::pruning
