// A batch out of a data set that lives on the device as bytes: out[n] = scale * pixels[indices[n]] + offset, with a
// border of `padding` zero bytes. Memory bound: reads 1 byte and writes 4 per pixel, so keeping the set as uint8 costs
// a quarter of the traffic and memory of float images, and no image ever crosses the bus during training.
#pragma once
#include <cstdint>

#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

// pixels [samples, channels, height, width] -> images [batch, channels, height + 2 padding, width + 2 padding]
struct GatherShape {
  index_t batch = 1, channels = 1, height = 1, width = 1, padding = 0;

  constexpr index_t out_height() const { return height + 2 * padding; }
  constexpr index_t out_width() const { return width + 2 * padding; }
  constexpr index_t pixels() const { return channels * height * width; }
  constexpr index_t output_size() const { return batch * channels * out_height() * out_width(); }
  constexpr index_t bytes() const { return batch * pixels() + 4 * output_size() + 4 * batch; }
};

// How a byte becomes a number: value = scale * byte + offset.
struct PixelScale {
  float scale = 1.0f / 255.0f, offset = 0.0f;
};

// Each index must name a sample; the launcher cannot see device memory, so whoever makes the indices checks them.
void gather_images(const GatherShape& shape, PixelScale scale, const std::uint8_t* pixels, const std::int32_t* indices,
                   float* images, cudaStream_t stream);
void gather_labels(index_t batch, const std::uint8_t* labels, const std::int32_t* indices, std::int32_t* out,
                   cudaStream_t stream);

}  // namespace espalier::kernels
