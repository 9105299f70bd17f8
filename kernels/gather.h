// A batch out of a data set that lives on the device as bytes: image[n] = scale * pixels[order[first + n]] + offset,
// with a border of `padding` zero bytes, and its labels, in one launch. Memory bound: reads 1 byte and writes 4 per
// pixel, so keeping the set as uint8 costs a quarter of the traffic and memory of float images, and no image ever
// crosses the bus during training. Where the batch begins may be read from device memory and is then moved on there by
// the last block to finish, so that each replay of a captured gather takes the batch after the last one's. augment.h
// distorts on the way.
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
  constexpr index_t bytes() const { return batch * pixels() + 4 * output_size() + 9 * batch; }
};

// How a byte becomes a number: value = scale * byte + offset.
struct PixelScale {
  float scale = 1.0f / 255.0f, offset = 0.0f;
};

// A place in an epoch, in device memory.
struct BatchCursor {
  std::int64_t first = 0;        // of the order; each gather adds its batch
  std::uint64_t epoch = 0;       // names the random numbers
  unsigned finished_blocks = 0;  // of the running gather
};

// Where samples come from. Each entry of the order must name a sample: the launcher cannot see device memory.
struct SampleSource {
  const std::uint8_t *pixels = nullptr, *labels = nullptr;  // of all samples
  const std::int32_t* order = nullptr;                      // which sample stands where
  std::int64_t first = 0;                                   // place of the batch's first sample ...
  std::uint64_t epoch = 0;
  BatchCursor* cursor = nullptr;  // ... unless this is given, which then says first and epoch
};

struct BatchOutputs {
  float* images = nullptr;
  std::int32_t* labels = nullptr;
  std::int32_t* samples = nullptr;  // which they are, as the order says; null: not wanted
};

void gather_batch(const GatherShape& shape, PixelScale scale, const SampleSource& source, const BatchOutputs& batch,
                  cudaStream_t stream);

// Throws InvalidArgument, led by `caller`, unless batch, channels, height and width are at least 1 and padding 0.
void require_valid(const GatherShape& shape, const char* caller);

}  // namespace espalier::kernels
