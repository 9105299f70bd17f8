// The weight gradient by tiles: the loaders that turn gemm_tile.h's product into dw = dy * patches of x, transposed.
// Both operands run along k = (image, output row, output column) in memory; a thread counts its k on digit by digit.
#pragma once
#include "kernels/conv2d_tiles.h"

namespace espalier::kernels {

// Both operands have k = (image, output row, output column).
struct Pixels {
  const float* data = nullptr;
  PooledGradient pooled = {};  // instead of data, of a fused block
  index_t image_planes = 0;
  index_t image = 0, group = 0;  // floats from one image, one group to the next
  int rows = 1, columns = 1;     // of the output
  int width_of_tile = 1;         // filters or columns that exist in a group
};

// A [m, k] = dy: row = filter of the group.
template <class Tile, bool kPooled>
class OutputGradientLoader {
  using Stage = DeepStage<Tile, Tile::kM>;

 public:
  using Parameters = Pixels;
  static constexpr Strides kStrides = Stage::kStrides;

  __device__ OutputGradientLoader(const Pixels& p, index_t first, index_t batch)
      : p_(p), step_(Tile::kK, rows(), columns()), k_{{0, 1, 1}, {0, 1, 1}} {
    base_ = p.data + batch * p.group;
    plane_ = batch * p.width_of_tile;
#pragma unroll
    for (int pass = 0; pass < Stage::kRowPasses; ++pass) {
      const index_t filter = first + stage_.row + pass * Stage::kRowsAtOnce;
      const int existing = int(detail::clamp_index(filter, p.width_of_tile - 1));
      offset_[pass] = kPooled ? existing : existing * p.rows * p.columns;
    }
  }

  __device__ void start(index_t k) {
#pragma unroll
    for (int step = 0; step < Stage::kDepthPasses; ++step)
      k_[step] = Odometer(k + stage_.k + step * 8, rows(), columns());
  }

  template <class Depth>
  __device__ void fetch(index_t, Depth depth) {
#pragma unroll
    for (int step = 0; step < Stage::kDepthPasses; ++step) {
      const Odometer& k = k_[step];  // image, row, column; rows and columns in one where dy is in memory
      const float* from = base_ + k.high * p_.image + k.low;
      const index_t plane = plane_ + k.high * p_.image_planes;
      if (inside(stage_.k + step * 8, depth)) {
#pragma unroll
        for (int pass = 0; pass < Stage::kRowPasses; ++pass) {
          if constexpr (kPooled) {
            stage_.value[pass][step] = p_.pooled.at(plane + offset_[pass], k.middle, k.low);
          } else {
            stage_.value[pass][step] = from[offset_[pass]];
          }
        }
      }
      k_[step].add(step_);
    }
  }

  template <class Depth>
  __device__ void commit(float* tile, Depth) {
    stage_.commit(tile);
  }

 private:
  __device__ int rows() const { return kPooled ? p_.rows : 1; }
  __device__ int columns() const { return kPooled ? p_.columns : p_.rows * p_.columns; }

  const Pixels& p_;
  Stage stage_;
  Odometer step_, k_[Stage::kDepthPasses];
  const float* base_;
  index_t plane_;
  int offset_[Stage::kRowPasses];
};

struct PatchColumns {
  Pixels x;
  int height = 0, width = 0, stride = 1, padding = 0, dilation = 1;
  int patch = 0, kernel_height = 1, kernel_width = 1;
};

// B [k, n] = patches transposed: column = entry of the patch, or 1 after the last.
template <class Tile>
class PatchColumnLoader {
  using Stage = DeepStage<Tile, Tile::kN>;

 public:
  using Parameters = PatchColumns;
  static constexpr Strides kStrides = Stage::kStrides;

  __device__ PatchColumnLoader(const PatchColumns& p, index_t first, index_t batch)
      : p_(p), step_(Tile::kK, p.x.rows, p.x.columns), k_{{0, 1, 1}, {0, 1, 1}} {
    base_ = p.x.data + batch * p.x.group;
#pragma unroll
    for (int pass = 0; pass < Stage::kRowPasses; ++pass) {
      const int entry = int(first) + stage_.row + pass * Stage::kRowsAtOnce;
      const PatchEntry of(entry, p.kernel_height, p.kernel_width);
      down_[pass] = of.row * p.dilation - p.padding, right_[pass] = of.column * p.dilation - p.padding;
      offset_[pass] = of.channel * p.height * p.width + down_[pass] * p.width + right_[pass];
      if (entry >= p.patch) down_[pass] = kOnes;
    }
  }

  __device__ void start(index_t k) {
#pragma unroll
    for (int step = 0; step < Stage::kDepthPasses; ++step) {
      k_[step] = Odometer(k + stage_.k + step * 8, p_.x.rows, p_.x.columns);
    }
  }

  template <class Depth>
  __device__ void fetch(index_t, Depth depth) {
#pragma unroll
    for (int step = 0; step < Stage::kDepthPasses; ++step) {
      const int row = k_[step].middle * p_.stride, column = k_[step].low * p_.stride;
      const float* from = base_ + k_[step].high * p_.x.image + row * p_.width + column;
      if (inside(stage_.k + step * 8, depth)) {
#pragma unroll
        for (int pass = 0; pass < Stage::kRowPasses; ++pass) {
          const bool in_image =
              unsigned(row + down_[pass]) < unsigned(p_.height) && unsigned(column + right_[pass]) < unsigned(p_.width);
          stage_.value[pass][step] = in_image ? from[offset_[pass]] : down_[pass] == kOnes ? 1.0f : 0.0f;
        }
      }
      k_[step].add(step_);
    }
  }

  template <class Depth>
  __device__ void commit(float* tile, Depth) {
    stage_.commit(tile);
  }

 private:
  static constexpr int kOnes = 1 << 30;  // a row that no image has
  const PatchColumns& p_;
  Stage stage_;
  Odometer step_, k_[Stage::kDepthPasses];
  const float* base_;
  int offset_[Stage::kRowPasses], down_[Stage::kRowPasses], right_[Stage::kRowPasses];
};

}  // namespace espalier::kernels
