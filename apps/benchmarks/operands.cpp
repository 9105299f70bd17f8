#include "apps/benchmarks/operands.h"

#include <vector>

#include "apps/benchmarks/sparse_values.h"
#include "core/device/stream.h"
#include "kernels/random.h"
#include "kernels/sparse/panels.h"

namespace espalier::benchmarks {
namespace {

template <class T, class Draw>
Tensor from_host(const Shape& shape, std::int64_t count, Draw draw) {
  std::mt19937 engine(1);
  std::vector<T> values(static_cast<std::size_t>(count));
  for (T& value : values) value = draw(engine);
  return Tensor::from(shape, values);
}

}  // namespace

Tensor random(const Shape& shape, std::uint64_t seed) {
  const Tensor x = Tensor::empty(shape);
  kernels::fill_uniform(x.size(), {.seed = seed}, -1.0f, 1.0f, x.data<float>(), current_stream());
  return x;
}

Tensor random_bytes(const Shape& shape, int below) {
  return from_host<std::uint8_t>(shape, shape.size(),
                                 [&](auto& engine) { return std::uint8_t(int(unit(engine) * below)); });
}

Tensor random_labels(std::int64_t count, int classes) {
  return from_host<std::int32_t>({count}, count, [&](auto& engine) { return std::int32_t(unit(engine) * classes); });
}

Tensor random_bits(std::int64_t count, double density) {
  const std::int64_t words = (count + 31) / 32;
  return from_host<std::uint32_t>({words}, words, [&](auto& engine) {
    std::uint32_t word = 0;
    for (int bit = 0; bit < 32; ++bit) word |= std::uint32_t(unit(engine) < density) << bit;
    return word;
  });
}

Tensor sparse_weight(const Shape& shape, double sparsity) {
  return Tensor::from(shape, sparse_values(std::size_t(shape.size()), sparsity));
}

Tensor block_sparse_weight(std::int64_t rows, std::int64_t columns, double sparsity) {
  std::vector<float> weight = random({rows, columns}).to_host();
  const std::int64_t across = (columns + 7) / 8;
  const std::vector<float> kept = sparse_weight({(rows + 7) / 8, across}, sparsity).to_host();
  for (std::int64_t i = 0; i < rows * columns; ++i) {
    const std::int64_t block = i / columns / 8 * across + i % columns / 8;
    if (kept[std::size_t(block)] == 0.0f) weight[std::size_t(i)] = 0.0f;
  }
  return Tensor::from({rows, columns}, weight);
}

Tensor two_four_weight(std::int64_t rows, std::int64_t columns) {
  int place = 0, first = 0, second = 0;
  return from_host<float>({rows, columns}, rows * columns, [&](auto& engine) {
    if (place == 0) first = int(unit(engine) * 4), second = (first + 1 + int(unit(engine) * 3)) % 4;
    const bool kept = place == first || place == second;
    place = (place + 1) % 4;
    return kept ? 0.01f + float(unit(engine)) : 0.0f;
  });
}

Tensor keep_of(const Tensor& weight) {
  std::vector<std::uint8_t> keep;
  for (const float value : weight.to_host()) keep.push_back(value != 0.0f);
  return Tensor::from(weight.shape(), keep);
}

Tensor panels_of(const Tensor& x) {
  constexpr auto kTeam = kernels::SparseTeam::automatic;
  const auto shape = kernels::panel_shape(x.shape()[0], x.shape()[1], kTeam);
  const Tensor panels = Tensor::empty({shape.elements()});
  kernels::make_panels(shape, x.data<float>(), panels.data<float>(), kTeam, current_stream());
  return panels;
}

}  // namespace espalier::benchmarks
