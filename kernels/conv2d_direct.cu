// Grids of rows (rows.h) for forward and the input gradient; for the weight gradient a block per weight, its threads
// striding over the pixels of one image after the other, then a tree: a fixed order.
#include "kernels/conv2d_direct.h"

#include "kernels/activation_math.h"
#include "kernels/conv2d_geometry.h"
#include "kernels/require.h"
#include "kernels/rows.h"
#include "kernels/warp.h"

namespace espalier::kernels {
namespace {

constexpr int kWeightThreads = 256;

struct DirectParameters : PatchGeometry {
  int channels, filters, groups;  // channels and filters of a group
  index_t batch;

  explicit DirectParameters(const Conv2dShape& s)
      : PatchGeometry(s),
        channels(int(s.channels_per_group())),
        filters(int(s.filters_per_group())),
        groups(int(s.groups)),
        batch(s.batch) {}
};

// A row of the loop: one filter of one image; its weights are the same for the whole row, a broadcast.
__global__ void conv2d_forward_direct_kernel(DirectParameters p, const float* __restrict__ x,
                                             const float* __restrict__ w, const float* __restrict__ bias,
                                             float* __restrict__ y, Activation activation, float leaky_slope) {
  const int all_filters = p.filters * p.groups, plane = p.height * p.width, out_plane = p.out_height * p.out_width;
  for_each_row(p.batch * all_filters, [&](index_t row) {
    const index_t image = row / all_filters;
    const int filter = int(row - image * all_filters), taps = p.kernel_height * p.kernel_width;
    const float* first = x + (image * p.groups + filter / p.filters) * p.channels * plane;
    const float* weights = w + index_t(filter) * p.channels * taps;
    const float shift = bias == nullptr ? 0.0f : bias[filter];
    for_each_column(out_plane, [&](index_t pixel) {
      const int out_row = int(pixel) / p.out_width, out_column = int(pixel) - out_row * p.out_width;
      const int top = out_row * p.stride - p.padding, left = out_column * p.stride - p.padding;
      float sum = shift;
      for (int channel = 0; channel < p.channels; ++channel) {
        for (int tap_row = 0; tap_row < p.kernel_height; ++tap_row) {
          const int in_row = top + tap_row * p.dilation;
          if (unsigned(in_row) >= unsigned(p.height)) continue;
          const float* from = first + channel * plane + in_row * p.width + left;
          const float* factors = weights + channel * taps + tap_row * p.kernel_width;
          for (int tap_column = 0; tap_column < p.kernel_width; ++tap_column) {
            const int right = tap_column * p.dilation;
            if (unsigned(left + right) < unsigned(p.width)) sum += factors[tap_column] * from[right];
          }
        }
      }
      y[row * out_plane + pixel] = apply_activation(activation, sum, leaky_slope);
    });
  });
}

// A row of the loop: one channel of one image.
__global__ void conv2d_backward_input_direct_kernel(DirectParameters p, const float* __restrict__ dy,
                                                    const float* __restrict__ w, float* __restrict__ dx) {
  const int all_channels = p.channels * p.groups, plane = p.height * p.width, out_plane = p.out_height * p.out_width;
  for_each_row(p.batch * all_channels, [&](index_t row) {
    const index_t image = row / all_channels;
    const int channel = int(row - image * all_channels), taps = p.kernel_height * p.kernel_width;
    const int group = channel / p.channels;
    const float* first = dy + (image * p.groups + group) * p.filters * out_plane;
    const float* weights = w + (index_t(group) * p.filters * p.channels + channel - group * p.channels) * taps;
    for_each_column(plane, [&](index_t pixel) {
      const int in_row = int(pixel) / p.width, in_column = int(pixel) - in_row * p.width;
      float sum = 0.0f;
      for (int tap_row = 0; tap_row < p.kernel_height; ++tap_row) {
        const int down = in_row + p.padding - tap_row * p.dilation, out_row = down / p.stride;
        if (down < 0 || out_row * p.stride != down || out_row >= p.out_height) continue;
        for (int tap_column = 0; tap_column < p.kernel_width; ++tap_column) {
          const int right = in_column + p.padding - tap_column * p.dilation, out_column = right / p.stride;
          if (right < 0 || out_column * p.stride != right || out_column >= p.out_width) continue;
          const float* factors = weights + tap_row * p.kernel_width + tap_column;
          const float* from = first + out_row * p.out_width + out_column;
          for (int filter = 0; filter < p.filters; ++filter) {
            sum += factors[index_t(filter) * p.channels * taps] * from[filter * out_plane];
          }
        }
      }
      dx[row * plane + pixel] = sum;
    });
  });
}

// A block: one weight (or, after the last of a filter, its bias), summed over batch and pixels by all threads.
__global__ void __launch_bounds__(kWeightThreads)
    conv2d_backward_weight_direct_kernel(DirectParameters p, const float* __restrict__ x, const float* __restrict__ dy,
                                         float* __restrict__ dw, float* __restrict__ db) {
  const int patch = p.channels * p.kernel_height * p.kernel_width;
  const int entries = patch + (db == nullptr ? 0 : 1), filter = int(blockIdx.x / unsigned(entries));
  const int entry = int(blockIdx.x % unsigned(entries));
  const PatchEntry of(entry, p.kernel_height, p.kernel_width);
  const int down = of.row * p.dilation - p.padding, right = of.column * p.dilation - p.padding;
  const int plane = p.height * p.width, out_plane = p.out_height * p.out_width;
  float sum = 0.0f;
  for (index_t image = 0; image < p.batch; ++image) {
    const float* gradient = dy + (image * p.filters * p.groups + filter) * out_plane;
    const float* from = x + ((image * p.groups + filter / p.filters) * p.channels + of.channel) * plane;
    for (int pixel = int(threadIdx.x); pixel < out_plane; pixel += kWeightThreads) {
      const int out_row = pixel / p.out_width, out_column = pixel - out_row * p.out_width;
      const int in_row = out_row * p.stride + down, in_column = out_column * p.stride + right;
      if (entry == patch) {
        sum += gradient[pixel];
      } else if (unsigned(in_row) < unsigned(p.height) && unsigned(in_column) < unsigned(p.width)) {
        sum += gradient[pixel] * from[in_row * p.width + in_column];
      }
    }
  }
  sum = Team<kWeightThreads>::reduce(sum, Sum{});
  if (threadIdx.x == 0) (entry == patch ? db[filter] : dw[index_t(filter) * patch + entry]) = sum;
}

}  // namespace

void conv2d_forward_direct(const Conv2dShape& shape, const float* x, const float* w, const float* bias, float* y,
                           Activation activation, float leaky_slope, cudaStream_t stream) {
  simt::launch(conv2d_forward_direct_kernel,
               rows_grid(shape.batch * shape.filters, shape.out_height() * shape.out_width(), stream),
               DirectParameters(shape), x, w, bias, y, activation, leaky_slope);
}

void conv2d_backward_input_direct(const Conv2dShape& shape, const float* dy, const float* w, float* dx,
                                  cudaStream_t stream) {
  simt::launch(conv2d_backward_input_direct_kernel,
               rows_grid(shape.batch * shape.channels, shape.height * shape.width, stream), DirectParameters(shape), dy,
               w, dx);
}

void conv2d_backward_weight_direct(const Conv2dShape& shape, const float* x, const float* dy, float* dw, float* db,
                                   cudaStream_t stream) {
  const index_t blocks = shape.weight_size() + (db == nullptr ? 0 : shape.filters);
  require(blocks <= kMaxGridX, "conv2d_backward_weight: ", blocks, " weights are more than a grid has blocks");
  simt::launch(conv2d_backward_weight_direct_kernel,
               simt::Launch{dim3(unsigned(blocks)), dim3(kWeightThreads), 0, stream}, DirectParameters(shape), x, dy,
               dw, db);
}

}  // namespace espalier::kernels
