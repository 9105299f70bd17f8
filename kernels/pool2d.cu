// Pooling by rows: a row of outputs (forward) or inputs (backward) shares its vertical arithmetic (rows.h). On a CPU
// the columns of strides 1 and 2 whose windows stay inside the row are pooled a vector register at a time
// (simt/lanes.h): g++ finds no vector code for bytes beside floats at stride 2. Milliseconds for [128, 32, 26, 26] on
// one Zen 5 core, one output at a time -> in lanes:
//   2x2, stride 2             max forward 7.5 -> 0.32, backward 5.3 -> 0.93; average 3.6 -> 0.18, 11 -> 0.49
//   3x3, stride 2, padding 1  max forward  18 -> 2.7,  backward  19 -> 3.0;  average 5.7 -> 1.3,  14 -> 1.5
//   3x3, stride 1, padding 1  max forward  55 -> 5.2,  backward  34 -> 5.5;  average  22 -> 2.7,  27 -> 2.5
#include "kernels/pool2d.h"

#include "kernels/pool2d_windows.h"
#include "kernels/pool_math.h"
#include "kernels/require.h"
#include "kernels/rows.h"
#include "kernels/simt/lanes.h"

namespace espalier::kernels {
namespace {

struct Range {
  int begin, end;
};

// Places in the window [start, start + window) that lie inside [0, extent).
__device__ inline Range inside(int start, int window, int extent) {
  return {start < 0 ? -start : 0, start + window > extent ? extent - start : window};
}

// Outputs whose window covers input `position`, counted from the padded border.
__device__ inline Range covering(unsigned position, unsigned window, unsigned stride, unsigned outputs) {
  const unsigned end = position / stride + 1;
  return {int(position < window ? 0 : (position - window) / stride + 1), int(end < outputs ? end : outputs)};
}

// The part of a window that lies inside the image: element (i, j) at from + i * line + j.
struct Window {
  const float* from;
  index_t line;
  Range vertical, horizontal;
  int width;  // of the whole window
};

struct MaxForward {
  float* y;
  std::uint8_t* argmax;

  // Outputs [output, output + kLanes), whose windows are kStride columns apart and all as far inside as the first.
  template <int kLanes, int kStride>
  __device__ void pool(const Window& window, index_t output) const {
    const Range vertical = window.vertical, horizontal = window.horizontal;
    const simt::Lanes<int, kLanes> zero{};
    auto place = zero + (vertical.begin * window.width + horizontal.begin);
    const float* first = window.from + vertical.begin * window.line + horizontal.begin;
    auto best = simt::load_phases<kLanes, kStride>(first).phase[0];
    for (int i = vertical.begin; i < vertical.end; ++i) {
      for (int j = horizontal.begin; j < horizontal.end; j += kStride) {
        const auto candidates = simt::load_phases<kLanes, kStride>(window.from + i * window.line + j);
        for (int r = 0; r < kStride && j + r < horizontal.end; ++r) {
          const auto better = wins(candidates.phase[r], best);
          best = better ? candidates.phase[r] : best;
          place = better ? zero + (i * window.width + j + r) : place;
        }
      }
    }
    simt::store_lanes<kLanes>(y + output, best);
    if (argmax != nullptr) {
      simt::store_lanes<kLanes>(argmax + output, simt::convert_lanes<std::uint8_t, kLanes>(place));
    }
  }
  // Of a whole window, of which bits say what is inside the image.
  template <int kSize>
  __device__ void take(const float (&window)[kSize], unsigned inside, index_t output) const {
    float best = 0.0f;
    int place = -1;
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      if ((inside >> i & 1u) != 0 && (place < 0 || wins(window[i], best))) best = window[i], place = i;
    }
    y[output] = best;
    if (argmax != nullptr) argmax[output] = std::uint8_t(place);
  }
};

struct AverageForward {
  float* y;
  float inverse_area;
  AverageDivisor divisor;

  template <int kLanes, int kStride>
  __device__ void pool(const Window& window, index_t output) const {
    const Range vertical = window.vertical, horizontal = window.horizontal;
    simt::Lanes<float, kLanes> sum{};
    for (int i = vertical.begin; i < vertical.end; ++i) {
      for (int j = horizontal.begin; j < horizontal.end; j += kStride) {
        const auto values = simt::load_phases<kLanes, kStride>(window.from + i * window.line + j);
        for (int r = 0; r < kStride && j + r < horizontal.end; ++r) sum += values.phase[r];
      }
    }
    const int elements = (vertical.end - vertical.begin) * (horizontal.end - horizontal.begin);
    const float factor = divisor == AverageDivisor::inside ? 1.0f / float(elements) : inverse_area;
    simt::store_lanes<kLanes>(y + output, sum * factor);
  }
  template <int kSize>
  __device__ void take(const float (&window)[kSize], unsigned inside, index_t output) const {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      if ((inside >> i & 1u) != 0) sum += window[i];
    }
    y[output] = sum * (divisor == AverageDivisor::inside ? 1.0f / float(__popc(inside)) : inverse_area);
  }
};

// kStride and kWindow are 0 where they are not known at compile time. A known window is square and has no padding. A
// known stride lets a CPU pool lanes of outputs where their windows stay inside the row.
template <int kStride>
constexpr bool kInLanes = simt::kContiguousElements&& kStride > 0;

template <int kStride, int kWindow, class Pooling>
__global__ void pool2d_forward_kernel(Pool2dShape shape, const float* __restrict__ x, Pooling pooling) {
  const unsigned out_height = unsigned(shape.out_height());
  const int out_width = int(shape.out_width()), width = int(shape.width);
  const int window_width = kWindow > 0 ? kWindow : int(shape.window_width);
  const int stride = kStride > 0 ? kStride : int(shape.stride);
  const int padding = kWindow > 0 ? 0 : int(shape.padding);
  for_each_row(shape.planes * out_height, [&](index_t row) {
    const unsigned plane = unsigned(row) / out_height;
    const int top = int(unsigned(row) % out_height) * stride - padding;
    const float* line = x + (index_t(plane) * shape.height + top) * width - padding;
    const Range vertical =
        kWindow > 0 ? Range{0, window_width} : inside(top, int(shape.window_height), int(shape.height));
    const auto single = [&](index_t column) {
      const int left = int(column) * stride;
      const Range horizontal = kWindow > 0 ? Range{0, window_width} : inside(left - padding, window_width, width);
      pooling.template pool<1, 1>({line + left, width, vertical, horizontal, window_width}, row * out_width + column);
    };
    if constexpr (!kInLanes<kStride>) {
      for_each_column(out_width, single);
    } else {
      const int last = width + padding - ceil_div(window_width, kStride) * kStride;  // reads whole phases
      const Range lanes{ceil_div(padding, kStride), last < 0 ? 0 : std::min(out_width, last / kStride + 1)};
      for (int column = 0; column < std::min(lanes.begin, out_width); ++column) single(column);
      for_each_column_block(lanes.end - lanes.begin, [&](auto count, index_t block) {
        const index_t column = lanes.begin + block;
        const Window window{line + column * kStride, width, vertical, {0, window_width}, window_width};
        pooling.template pool<decltype(count)::value, kStride>(window, row * out_width + column);
      });
      for (int column = std::max(lanes.begin, lanes.end); column < out_width; ++column) single(column);
    }
  });
}

struct MaxBackward {
  const std::uint8_t* argmax;
  const float* dy;

  // What outputs [output, output + kLanes) give to the inputs at `place` of their windows.
  template <int kLanes>
  __device__ simt::Lanes<float, kLanes> gradient(index_t output, int place, int /*row*/, int /*column*/) const {
    const auto chosen = simt::convert_lanes<int, kLanes>(simt::load_lanes<kLanes>(argmax + output));
    return chosen == place ? simt::load_lanes<kLanes>(dy + output) : simt::Lanes<float, kLanes>{};
  }
  // What an output gives to each place of its window.
  struct Share {
    int chosen;
    float gradient;
    __device__ float of(int place) const { return chosen == place ? gradient : 0.0f; }
  };
  __device__ Share share(index_t output) const { return {argmax[output], dy[output]}; }
  __device__ static Share none() { return {-1, 0.0f}; }
};

struct AverageBackward {
  const float* dy;
  float inverse_area;

  template <int kLanes>
  __device__ simt::Lanes<float, kLanes> gradient(index_t output, int, int, int) const {
    return simt::load_lanes<kLanes>(dy + output) * inverse_area;
  }
  struct Share {
    float gradient;
    __device__ float of(int) const { return gradient; }
  };
  __device__ Share share(index_t output) const { return {dy[output] * inverse_area}; }
  __device__ static Share none() { return {0.0f}; }
};

// Windows cut by the border divide by what is left of them: one output at a time.
struct AverageInsideBackward {
  const float* dy;
  Pool2dShape shape;

  template <int kLanes>
  __device__ float gradient(index_t output, int, int row, int column) const {
    const Range vertical = inside(int(row * shape.stride - shape.padding), int(shape.window_height), int(shape.height));
    const Range horizontal =
        inside(int(column * shape.stride - shape.padding), int(shape.window_width), int(shape.width));
    return dy[output] / float((vertical.end - vertical.begin) * (horizontal.end - horizontal.begin));
  }
};

// Row h of one plane of dx and the outputs whose windows cover it. Rows and columns count from the padded border.
template <class Pooling>
struct InputRow {
  Pooling pooling;
  int h, stride, window_width, out_width;
  Range vertical;
  index_t outputs;  // where the plane of outputs begins
  float* dx;        // column 0, which lies in the padding if there is any

  __device__ void single(int w) const {
    const Range horizontal = covering(unsigned(w), unsigned(window_width), unsigned(stride), unsigned(out_width));
    float sum = 0.0f;
    for (int i = vertical.begin; i < vertical.end; ++i) {
      for (int j = horizontal.begin; j < horizontal.end; ++j) {
        const int place = (h - i * stride) * window_width + (w - j * stride);
        sum += pooling.template gradient<1>(outputs + index_t(i) * out_width + j, place, i, j);
      }
    }
    dx[w] = sum;
  }

  // Columns kStride * t + r for kLanes values of t and all r < kStride: outputs t, t - 1 ... cover them.
  template <int kStride, int kLanes>
  __device__ void lanes(int t) const {
    simt::LanePhases<float, kLanes, kStride> sum{};
    for (int i = vertical.begin; i < vertical.end; ++i) {
      const int first_place = (h - i * kStride) * window_width;
      for (int j = t, step = 0; step < window_width; --j, step += kStride) {
        const index_t output = outputs + index_t(i) * out_width + j;
        for (int r = 0; r < kStride && step + r < window_width; ++r) {
          sum.phase[r] += pooling.template gradient<kLanes>(output, first_place + step + r, i, j);
        }
      }
    }
    simt::store_phases<kLanes, kStride>(dx + kStride * t, sum);
  }
};

template <int kStride, int kWindow, class Pooling>
__global__ void pool2d_backward_kernel(Pool2dShape shape, Pooling pooling, float* __restrict__ dx) {
  const unsigned out_height = unsigned(shape.out_height()), height = unsigned(shape.height);
  const int out_width = int(shape.out_width());
  const int window_width = kWindow > 0 ? kWindow : int(shape.window_width);
  const int window_height = kWindow > 0 ? kWindow : int(shape.window_height);
  const int stride = kStride > 0 ? kStride : int(shape.stride);
  const int begin = kWindow > 0 ? 0 : int(shape.padding), end = begin + int(shape.width);
  for_each_row(shape.planes * height, [&](index_t row) {
    const unsigned plane = unsigned(row) / height, h = unsigned(row) % height + unsigned(begin);
    const Range vertical = covering(h, unsigned(window_height), unsigned(stride), out_height);
    const index_t outputs = index_t(plane) * out_height * out_width;
    float* line = dx + row * shape.width - begin;
    const InputRow<Pooling> input{pooling, int(h), stride, window_width, out_width, vertical, outputs, line};
    if constexpr (!kInLanes<kStride>) {
      for_each_column(shape.width, [&](index_t column) { input.single(begin + int(column)); });
    } else {
      const int first = std::max(ceil_div(window_width, kStride) - 1, ceil_div(begin, kStride));
      const int stop = std::max(first, std::min(out_width, end / kStride));
      for (int w = begin; w < std::min(first * kStride, end); ++w) input.single(w);
      for_each_column_block(stop - first, [&](auto count, index_t block) {
        input.template lanes<kStride, decltype(count)::value>(first + int(block));
      });
      for (int w = stop * kStride; w < end; ++w) input.single(w);
    }
  });
}

bool is_halving(const Pool2dShape& shape) {
  return shape.window_height == 2 && shape.window_width == 2 && shape.stride == 2 && shape.padding == 0;
}
bool is_three(const Pool2dShape& shape) {
  return shape.window_height == 3 && shape.window_width == 3 && shape.stride == 2;
}
// Whether rows of `image` are pairs of floats that are aligned.
bool is_paired(const Pool2dShape& shape, const float* image) {
  return shape.width % 2 == 0 && reinterpret_cast<std::uintptr_t>(image) % sizeof(float2) == 0;
}

void check(const char* who, const Pool2dShape& shape) {
  const index_t height = shape.height + 2 * shape.padding, width = shape.width + 2 * shape.padding;
  require(shape.window_height > 0 && shape.window_width > 0 && shape.stride > 0, who, ": window is ",
          shape.window_height, "x", shape.window_width, " at stride ", shape.stride, "; give at least 1 for each");
  require(shape.padding >= 0 && shape.padding < shape.window_height && shape.padding < shape.window_width, who,
          ": padding is ", shape.padding, " for a window of ", shape.window_height, "x", shape.window_width,
          "; give one smaller than the window, or some windows would hold nothing");
  require(shape.window_height <= height && shape.window_width <= width, who, ": the window of ", shape.window_height,
          "x", shape.window_width, " is larger than the padded image of ", height, "x", width,
          "; use a smaller window or fewer pools before");
  require(shape.planes * height <= kMaxGridX && height * width <= kMaxGridX, who, ": ", shape.planes, " planes of ",
          height, "x", width, " exceed the 31 bits of row arithmetic; split the batch");
}

void check_max(const char* who, const Pool2dShape& shape) {
  constexpr index_t kMaxWindow = 255;  // the argmax byte
  check(who, shape);
  const index_t area = shape.window_height * shape.window_width;
  require(area <= kMaxWindow, who, ": a window of ", area, " elements; at most ", kMaxWindow,
          " fit the stored byte, pool in two steps");
}

template <int kValue>
using Fixed = std::integral_constant<int, kValue>;

// visit(stride, window): what the kernels can know of this shape.
template <class Visit>
void with_known(const Pool2dShape& shape, Visit visit) {
  if constexpr (simt::kContiguousElements) {
    if (is_halving(shape)) return visit(Fixed<2>(), Fixed<2>());
    if (shape.stride == 1) return visit(Fixed<1>(), Fixed<0>());
    if (shape.stride == 2) return visit(Fixed<2>(), Fixed<0>());
  }
  visit(Fixed<0>(), Fixed<0>());
}

template <class Pooling>
void forward(const Pool2dShape& shape, const float* x, const Pooling& pooling, cudaStream_t stream) {
  if (shape.planes == 0) return;
  const auto grid = rows_grid(shape.planes * shape.out_height(), shape.out_width(), stream);
  if constexpr (!simt::kContiguousElements) {
    if (is_halving(shape)) return simt::launch(halve_kernel<Pooling>, grid, shape, is_paired(shape, x), x, pooling);
    if (is_three(shape)) return simt::launch(three_kernel<Pooling>, grid, shape, x, pooling);
  }
  with_known(shape, [&]<int kStride, int kWindow>(Fixed<kStride>, Fixed<kWindow>) {
    simt::launch(pool2d_forward_kernel<kStride, kWindow, Pooling>, grid, shape, x, pooling);
  });
}

template <class Pooling>
void backward(const Pool2dShape& shape, const Pooling& pooling, float* dx, cudaStream_t stream) {
  if (shape.planes == 0) return;
  if constexpr (!simt::kContiguousElements) {
    const auto windows =
        rows_grid(shape.planes * ceil_div<index_t>(shape.height, 2), ceil_div<index_t>(shape.width, 2), stream);
    if (is_halving(shape)) {
      return simt::launch(halve_backward_kernel<Pooling>, windows, shape, is_paired(shape, dx), pooling, dx);
    }
    const index_t bands = (shape.height + shape.padding + 1) / 2, pairs = (shape.width + shape.padding + 1) / 2;
    if (is_three(shape)) {
      return simt::launch(three_backward_kernel<Pooling>, rows_grid(shape.planes * bands, pairs, stream), shape,
                          pooling, dx);
    }
  }
  const auto grid = rows_grid(shape.planes * shape.height, shape.width, stream);
  with_known(shape, [&]<int kStride, int kWindow>(Fixed<kStride>, Fixed<kWindow>) {
    simt::launch(pool2d_backward_kernel<kStride, kWindow, Pooling>, grid, shape, pooling, dx);
  });
}

float inverse_area(const Pool2dShape& shape) { return 1.0f / float(shape.window_height * shape.window_width); }

}  // namespace

void max_pool2d_forward(const Pool2dShape& shape, const float* x, float* y, std::uint8_t* argmax, cudaStream_t stream) {
  check_max("max_pool2d_forward", shape);
  forward(shape, x, MaxForward{y, argmax}, stream);
}

void max_pool2d_backward(const Pool2dShape& shape, const std::uint8_t* argmax, const float* dy, float* dx,
                         cudaStream_t stream) {
  check_max("max_pool2d_backward", shape);
  backward(shape, MaxBackward{argmax, dy}, dx, stream);
}

void average_pool2d_forward(const Pool2dShape& shape, AverageDivisor divisor, const float* x, float* y,
                            cudaStream_t stream) {
  check("average_pool2d_forward", shape);
  forward(shape, x, AverageForward{y, inverse_area(shape), divisor}, stream);
}

void average_pool2d_backward(const Pool2dShape& shape, AverageDivisor divisor, const float* dy, float* dx,
                             cudaStream_t stream) {
  check("average_pool2d_backward", shape);
  const bool cut = divisor == AverageDivisor::inside && shape.padding > 0;
  if (!cut) return backward(shape, AverageBackward{dy, inverse_area(shape)}, dx, stream);
  if (shape.planes == 0) return;
  simt::launch(pool2d_backward_kernel<0, 0, AverageInsideBackward>,
               rows_grid(shape.planes * shape.height, shape.width, stream), shape, AverageInsideBackward{dy, shape},
               dx);
}

}  // namespace espalier::kernels
