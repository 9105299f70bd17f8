#include "pruning/structured_pattern.h"

#include <algorithm>

#include "core/device/stream.h"
#include "kernels/require.h"
#include "kernels/structured_pattern.h"

namespace espalier::pruning {
namespace {

constexpr int kTensorCoreColumns = 4;  // that V:N:M leaves of a window: two of them are what mma.sp takes

kernels::MatrixShape matrix_of(const Tensor& score) {
  const std::int64_t rows = score.shape()[0];
  return {.rows = rows, .columns = score.size() / rows};
}

kernels::PlanesShape flat(const Tensor& score) { return kernels::as_planes(matrix_of(score)); }

kernels::PlanesShape by_taps(const Tensor& score) {
  const std::int64_t filters = score.shape()[0], channels = score.shape()[1];
  return {.batch = filters, .channels = channels, .area = score.size() / std::max<std::int64_t>(filters * channels, 1)};
}

// How a pattern sees a weight that its blocks are cut from.
using ShapeOf = kernels::PlanesShape (*)(const Tensor& score);

// Scores of blocks, one tensor for each of the weights'.
std::vector<Tensor> block_scores(std::span<const Tensor> scores, const kernels::MatrixShape& block, ShapeOf shape_of) {
  std::vector<Tensor> found;
  for (const Tensor& score : scores) {
    const kernels::PlanesShape shape = shape_of(score), grid = kernels::block_grid(shape, block);
    found.push_back(Tensor::empty({grid.batch, grid.channels * grid.area}));
    kernels::score_blocks(shape, block, score.data<float>(), found.back().data<float>(), current_stream());
  }
  return found;
}

// What `choose` does to single weights, done to blocks.
Pattern of_blocks(const kernels::MatrixShape& block, Pattern choose, ShapeOf shape_of = flat) {
  return [block, choose = std::move(choose), shape_of](std::span<const Tensor> scores, const Budget& budget) {
    const std::vector<Mask> chosen = choose(block_scores(scores, block, shape_of), budget);
    std::vector<Mask> masks;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      masks.push_back({Tensor::empty(scores[i].shape(), DType::u8)});
      kernels::expand_blocks(shape_of(scores[i]), block, chosen[i].keep.data<std::uint8_t>(),
                             masks[i].keep.data<std::uint8_t>(), current_stream());
    }
    return masks;
  };
}

}  // namespace

Pattern vector(int height) {
  require(height >= 1, "vector: a height of ", height, "; needs at least 1");
  return of_blocks({height, 1}, unstructured());
}

Pattern vector_n_of_m(int height, int n, int m) {
  require(height >= 1, "vector_n_of_m: a height of ", height, "; needs at least 1");
  return of_blocks({height, 1}, n_of_m(n, m, RaggedRows::shorter_run));
}

Pattern block(int rows, int columns) {
  require(rows >= 1 && columns >= 1, "block: ", rows, " x ", columns, "; both must be at least 1");
  return of_blocks({rows, columns}, unstructured());
}

Pattern block_channels(int filters, int channels) {
  require(filters >= 1 && channels >= 1, "block_channels: ", filters, " x ", channels, "; both must be at least 1");
  return of_blocks({filters, channels}, unstructured(), by_taps);
}

Pattern v_n_m(int height, int n, int m) {
  require(height >= 1 && 1 <= n && n <= kTensorCoreColumns && m >= kTensorCoreColumns && m <= 32, "v_n_m: ", height,
          ":", n, ":", m, "; needs a height of at least 1 and 1 <= n <= 4 <= m <= 32");
  const Pattern columns = n_of_m(kTensorCoreColumns, m, RaggedRows::shorter_run);
  return [=](std::span<const Tensor> scores, const Budget& budget) {
    const std::vector<Mask> chosen = columns(block_scores(scores, {height, 1}, flat), budget);
    std::vector<Mask> masks;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      masks.push_back({Tensor::empty(scores[i].shape(), DType::u8)});
      kernels::keep_n_of_columns(matrix_of(scores[i]), height, n, m, chosen[i].keep.data<std::uint8_t>(),
                                 scores[i].data<float>(), masks[i].keep.data<std::uint8_t>(), current_stream());
    }
    return masks;
  };
}

}  // namespace espalier::pruning
