// Problem sizes with names, so that no launcher takes eighteen interchangeable integers. Each knows its own work:
// flops() counts a multiply-add as two, ideal bytes() count every operand once. All products of sizes are 64-bit.
#pragma once
#include <cstdint>

namespace espalier::kernels {

using index_t = std::int64_t;

// Scratch memory for launchers that can use some, which say how much would help them. None at all is always right, and
// no two launches that may overlap share one. With `arrivals` a launcher that would need a second pass can let the last
// block to arrive do it: kArrivals counters, zero before their first use, which every launch leaves at zero.
inline constexpr index_t kArrivals = 1024;
struct Workspace {
  float* data = nullptr;
  index_t floats = 0;
  unsigned* arrivals = nullptr;
};

// C [m, n] = alpha * op(A) [m, k] * op(B) [k, n] + beta * C, all row-major.
struct GemmShape {
  index_t m = 0, n = 0, k = 0;
  constexpr index_t flops() const { return 2 * m * n * k; }
  constexpr index_t bytes() const { return 4 * (m * k + k * n + m * n); }
};

// x [batch, channels, height, width] * w [filters, channels / groups, kernel_height, kernel_width]
//   -> y [batch, filters, out_height(), out_width()]
struct Conv2dShape {
  index_t batch = 1, channels = 1, height = 1, width = 1;
  index_t filters = 1, kernel_height = 1, kernel_width = 1;
  index_t stride = 1, padding = 0, dilation = 1, groups = 1;

  constexpr index_t out_height() const {
    return (height + 2 * padding - dilation * (kernel_height - 1) - 1) / stride + 1;
  }
  constexpr index_t out_width() const { return (width + 2 * padding - dilation * (kernel_width - 1) - 1) / stride + 1; }
  constexpr index_t channels_per_group() const { return channels / groups; }
  constexpr index_t filters_per_group() const { return filters / groups; }
  constexpr index_t patch() const {
    return channels_per_group() * kernel_height * kernel_width;
  }  // weights of one filter
  constexpr index_t input_size() const { return batch * channels * height * width; }
  constexpr index_t output_size() const { return batch * filters * out_height() * out_width(); }
  constexpr index_t weight_size() const { return filters * patch(); }
  constexpr index_t macs() const { return output_size() * patch(); }
  constexpr index_t flops() const { return 2 * macs(); }
  constexpr index_t bytes() const { return 4 * (input_size() + weight_size() + output_size()); }
};

// x [batch, channels, area]: images seen by what treats each channel alone; a matrix [rows, columns] has area 1.
struct PlanesShape {
  index_t batch = 1, channels = 1, area = 1;

  constexpr index_t size() const { return batch * channels * area; }
  constexpr index_t per_channel() const { return batch * area; }
};

// x [rows, columns], row-major.
struct MatrixShape {
  index_t rows = 1, columns = 1;

  constexpr index_t size() const { return rows * columns; }
};

// Windows over the last two axes of x [planes, height, width], planes = batch * channels.
struct Pool2dShape {
  index_t planes = 1, height = 1, width = 1;
  index_t window_height = 2, window_width = 2, stride = 2, padding = 0;

  constexpr index_t out_height() const { return (height + 2 * padding - window_height) / stride + 1; }
  constexpr index_t out_width() const { return (width + 2 * padding - window_width) / stride + 1; }
  constexpr index_t input_size() const { return planes * height * width; }
  constexpr index_t output_size() const { return planes * out_height() * out_width(); }
};

}  // namespace espalier::kernels
