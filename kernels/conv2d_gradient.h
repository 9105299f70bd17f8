// The gradient of a convolution's output, as the kernels of its other gradients read it. Where a pool and an activation
// were fused to the convolution it is nowhere in memory: PooledGradient makes each element from the pooled maps, three
// reads of a quarter of the elements instead of one of all.
#pragma once
#include <cstdint>

#include "kernels/conv2d_pool.h"

namespace espalier::kernels {

// Throws InvalidArgument, led by `caller`, unless the block is one that conv2d_pool.h can compute, and its route words.
void require_valid_pool(const Conv2dShape& shape, const std::uint8_t* route, Activation activation, float leaky_slope,
                        const char* caller);

// The slope below zero of an activation that is straight on both sides of zero.
inline float slope_below_zero(Activation activation, float leaky_slope) {
  return activation == Activation::relu ? 0.0f : activation == Activation::leaky_relu ? leaky_slope : 1.0f;
}

// value where kept > 0 (or NaN), else slope * value; no 0 * infinity. For numbers and for lanes.
template <class Values>
__device__ inline Values bend(Values value, Values kept, float slope) {
  const Values bent = slope == 0.0f ? Values{} : slope * value;
  return kept <= Values{} ? bent : value;
}

// Bytes of the places of a plane of so many windows, four to a byte.
__host__ __device__ constexpr index_t route_plane_bytes(index_t windows) { return (windows + 3) / 4; }

struct PooledGradient {
  const float *y = nullptr, *dy = nullptr;  // [planes, height, width]
  const std::uint8_t* route = nullptr;
  int height = 0, width = 0;
  float slope = 1.0f;

  PooledGradient() = default;
  PooledGradient(const Conv2dShape& shape, const float* y, const float* dy, const std::uint8_t* route,
                 Activation activation, float leaky_slope)
      : y(y),
        dy(dy),
        route(route),
        height(int(shape.out_height() / 2)),
        width(int(shape.out_width() / 2)),
        slope(slope_below_zero(activation, leaky_slope)) {}

  __host__ __device__ int windows() const { return height * width; }
  __host__ __device__ index_t plane_bytes() const { return route_plane_bytes(windows()); }

  // Of the convolution's output (row, column) of a plane (image * filters + filter); rows and columns may lie outside.
  __device__ float at(index_t plane, int row, int column) const {
    if (unsigned(row) >= 2u * unsigned(height) || unsigned(column) >= 2u * unsigned(width)) return 0.0f;
    const int window = (row >> 1) * width + (column >> 1), place = (row & 1) * 2 + (column & 1);
    if (((route[plane * plane_bytes() + (window >> 2)] >> (window % 4 * 2)) & 3) != place) return 0.0f;
    const index_t i = plane * windows() + window;
    return bend(dy[i], y[i], slope);
  }
};

}  // namespace espalier::kernels
