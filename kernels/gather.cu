// One image row at a time: which sample, channel and line it is costs two divisions per row instead of per pixel, and
// neighbouring threads read and write neighbouring pixels of the row.
#include "kernels/gather.h"

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/rows.h"

namespace espalier::kernels {
namespace {

__global__ void gather_images_kernel(GatherShape shape, PixelScale scale, const std::uint8_t* __restrict__ pixels,
                                     const std::int32_t* __restrict__ indices, float* __restrict__ images) {
  const index_t out_height = shape.out_height(), out_width = shape.out_width();
  for_each_row(shape.batch * shape.channels * out_height, [&](index_t row) {
    const index_t plane = row / out_height, y = row - plane * out_height - shape.padding;
    const index_t n = plane / shape.channels, c = plane - n * shape.channels;
    const index_t line = indices[n] * shape.pixels() + (c * shape.height + y) * shape.width;
    float* const out = images + row * out_width;
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
}

__global__ void gather_labels_kernel(index_t batch, const std::uint8_t* __restrict__ labels,
                                     const std::int32_t* __restrict__ indices, std::int32_t* __restrict__ out) {
  for_each_element(batch, [&](index_t n) { out[n] = labels[indices[n]]; });
}

}  // namespace

void gather_images(const GatherShape& shape, PixelScale scale, const std::uint8_t* pixels, const std::int32_t* indices,
                   float* images, cudaStream_t stream) {
  require(shape.batch >= 1 && shape.channels >= 1 && shape.height >= 1 && shape.width >= 1 && shape.padding >= 0,
          "gather_images: batch ", shape.batch, ", image ", shape.channels, " x ", shape.height, " x ", shape.width,
          ", padding ", shape.padding, "; sizes must be at least 1 and the padding at least 0");
  const index_t rows = shape.batch * shape.channels * shape.out_height();
  simt::launch(gather_images_kernel, rows_grid(rows, shape.out_width(), stream), shape, scale, pixels, indices, images);
}

void gather_labels(index_t batch, const std::uint8_t* labels, const std::int32_t* indices, std::int32_t* out,
                   cudaStream_t stream) {
  require(batch >= 1, "gather_labels: batch is ", batch, "; it must be at least 1");
  simt::launch(gather_labels_kernel, elements_grid(batch, stream), batch, labels, indices, out);
}

}  // namespace espalier::kernels
