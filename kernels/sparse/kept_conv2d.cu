// One walk over the mask along the rows of the flipped weight: strided bytes, once in many steps.
#include "kernels/sparse/kept_conv2d.h"

#include "kernels/require.h"
#include "kernels/sparse/conv_tile.h"
#include "kernels/sparse/encode_rows.h"

namespace espalier::kernels {
namespace {

// Where an element of the flipped weight lies in W.
struct FlippedPlace {
  int channels, filters, window, patch;  // the first two of a group

  explicit FlippedPlace(const Conv2dShape& shape)
      : channels(int(shape.channels_per_group())),
        filters(int(shape.filters_per_group())),
        window(int(shape.kernel_height * shape.kernel_width)),
        patch(int(shape.patch())) {}
  __device__ int operator()(int channel, int column) const {
    const int filter = channel / channels * filters + column / window;
    return filter * patch + channel % channels * window + window - 1 - column % window;
  }
};

struct FlippedKeep {
  const std::uint8_t* keep;
  FlippedPlace place;
  __device__ bool operator()(int channel, int column) const { return keep[place(channel, column)] != 0; }
};

struct WriteFlipped {
  FlippedPlace place;
  FlippedArrays to;
  __device__ void operator()(int position, int channel, int column) const {
    to.column_indices[position] = column;
    to.places[position] = place(channel, column);
  }
};

__global__ void kept_conv2d_gather_kernel(Conv2dShape shape, CsrConv2dLayout layout, KeptColumns columns,
                                          const float* __restrict__ weight, float* __restrict__ values,
                                          std::int32_t* __restrict__ offsets) {
  for_each_element(columns.kept, [&](index_t i) {
    values[i] = weight[columns.places[i]];
    offsets[i] = slab_offset(shape, layout, columns.column_indices[i]);
  });
}

}  // namespace

std::optional<Conv2dShape> input_gradient_shape(const Conv2dShape& shape) {
  const index_t reach = shape.dilation * (shape.kernel_height - 1);
  const bool square = shape.kernel_height == shape.kernel_width;
  if (shape.stride != 1 || !square || shape.padding > reach) return std::nullopt;
  Conv2dShape flipped = shape;
  flipped.channels = shape.filters, flipped.height = shape.out_height(), flipped.width = shape.out_width();
  flipped.filters = shape.channels, flipped.padding = reach - shape.padding;
  return flipped;
}

void kept_flip(const Conv2dShape& shape, const std::uint8_t* keep, const FlippedArrays& to, cudaStream_t stream) {
  const index_t size = shape.filters * shape.patch();
  require(size > 0 && size <= INT32_MAX, "kept weights: the convolution's weight is ", shape.filters, " x ",
          shape.patch(), "; both must be at least 1 and their product at most ", INT32_MAX);
  const FlippedPlace place(shape);
  const int rows = int(shape.channels), columns = place.filters * place.window;
  const FlippedKeep kept{keep, place};
  count_and_scan(rows, columns, kept, to.row_offsets, stream);
  simt::launch(fill_kernel<FlippedKeep, WriteFlipped>, rows_grid(rows, stream), rows, columns, kept,
               static_cast<const std::int32_t*>(to.row_offsets), WriteFlipped{place, to});
}

void kept_conv2d_gather(const Conv2dShape& shape, const CsrConv2dLayout& layout, const KeptColumns& columns,
                        const float* weight, float* values, std::int32_t* offsets, cudaStream_t stream) {
  require_offsets_fit(shape, layout);
  if (columns.kept == 0) return;
  simt::launch(kept_conv2d_gather_kernel, elements_grid(columns.kept, stream), shape, layout, columns, weight, values,
               offsets);
}

}  // namespace espalier::kernels
