// One image row at a time: which sample, channel and line it is costs two divisions of 32 bits per row instead of per
// pixel, and neighbouring threads read and write neighbouring pixels of the row.
#include "kernels/gather.h"

#include <algorithm>

#include "kernels/batch_place.h"
#include "kernels/require.h"
#include "kernels/rows.h"

namespace espalier::kernels {
namespace {

constexpr unsigned kMostBlocks = 2048;  // each looks the batch's place up and leaves it

__global__ void gather_batch_kernel(GatherShape shape, PixelScale scale, SampleSource source, BatchOutputs batch) {
  const BatchPlace place(source);
  const std::uint8_t* __restrict__ const pixels = source.pixels;
  const index_t out_width = shape.out_width();
  const unsigned out_height = unsigned(shape.out_height()), channels = unsigned(shape.channels);
  for_each_row(shape.batch * shape.channels * out_height, [&](index_t row) {
    const unsigned plane = unsigned(row) / out_height, out_y = unsigned(row) - plane * out_height;
    const unsigned n = plane / channels, c = plane - n * channels;
    const index_t y = index_t(out_y) - shape.padding;
    const index_t sample = source.order[place.first + n];
    const index_t line = sample * shape.pixels() + (c * shape.height + y) * shape.width;
    float* __restrict__ const out = batch.images + row * out_width;
    if (c == 0 && out_y == 0 && threadIdx.x == 0 && blockIdx.y == 0) name_sample(source, batch, n, sample);
    if (y < 0 || y >= shape.height) {
      for_each_column(out_width, [&](index_t x) { out[x] = scale.offset; });
    } else if (shape.padding == 0) {
      for_each_column(out_width, [&](index_t x) { out[x] = scale.scale * float(pixels[line + x]) + scale.offset; });
    } else {
      for_each_column(out_width, [&](index_t x) {
        const index_t column = x - shape.padding;
        const bool inside = column >= 0 && column < shape.width;
        out[x] = inside ? scale.scale * float(pixels[line + column]) + scale.offset : scale.offset;
      });
    }
  });
  place.leave(source, shape.batch);
}

}  // namespace

void require_valid(const GatherShape& shape, const char* caller) {
  require(shape.batch >= 1 && shape.channels >= 1 && shape.height >= 1 && shape.width >= 1 && shape.padding >= 0,
          caller, ": batch ", shape.batch, ", image ", shape.channels, " x ", shape.height, " x ", shape.width,
          ", padding ", shape.padding, "; sizes must be at least 1 and the padding at least 0");
}

void gather_batch(const GatherShape& shape, PixelScale scale, const SampleSource& source, const BatchOutputs& batch,
                  cudaStream_t stream) {
  require_valid(shape, "gather_batch");
  const index_t rows = shape.batch * shape.channels * shape.out_height();
  require(rows <= kMaxGridX, "gather_batch: ", shape.batch, " images of ", shape.channels, " x ", shape.out_height(),
          " rows exceed the 31 bits of row arithmetic; split the batch");
  simt::Launch launch = rows_grid(rows, shape.out_width(), stream);
  launch.grid.x = std::min(launch.grid.x, kMostBlocks);
  simt::launch(gather_batch_kernel, launch, shape, scale, source, batch);
}

}  // namespace espalier::kernels
