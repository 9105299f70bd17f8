// Convolutions of tf32, fp16 and bf16 against plain loops in double on the rounded operands, in both layouts, by the
// tensor cores and by the fastest way of the build; the turn between the layouts.
#include "kernels/conv2d_tensor_core.h"

#include <doctest/doctest.h>

#include "kernels/layout.h"
#include "kernels/require.h"
#include "tests/support/close.h"
#include "tests/support/conv2d_problem.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/narrow.h"
#include "tests/support/reference/conv2d.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

// [batch, channels, area] -> [batch, area, channels], or back.
template <class T>
std::vector<T> turned(const std::vector<T>& x, index_t channels, index_t area, bool back = false) {
  std::vector<T> y(x.size());
  for (index_t i = 0; i < index_t(x.size()); ++i) {
    const index_t n = i / (channels * area), c = i / area % channels, p = i % area;
    const index_t nhwc = (n * area + p) * channels + c;
    y[std::size_t(back ? i : nhwc)] = x[std::size_t(back ? nhwc : i)];
  }
  return y;
}

template <class T>
struct NarrowProblem {
  Conv2dShape shape;
  std::vector<T> x, w, dy;
  std::vector<float> bias;
  Conv2dInDouble expected, exact;  // of the rounded operands, and of those before rounding
  index_t x_area, y_area, taps;

  explicit NarrowProblem(const Conv2dShape& s) : shape(s), bias(random_floats(std::size_t(s.filters), 3)) {
    const std::vector<float> fx = random_floats(std::size_t(s.input_size()), 1);
    const std::vector<float> fw = random_floats(std::size_t(s.weight_size()), 2);
    const std::vector<float> fdy = random_floats(std::size_t(s.output_size()), 4);
    x = rounded<T>(fx), w = rounded<T>(fw), dy = rounded<T>(fdy);
    expected = conv2d_reference(s, floats(x), floats(w), bias, floats(dy));
    exact = conv2d_reference(s, fx, fw, bias, fdy);
    x_area = s.height * s.width, y_area = s.out_height() * s.out_width(), taps = s.kernel_height * s.kernel_width;
  }
};

template <class T>
struct Laid {  // the operands in a layout, and results of it back in nchw
  const NarrowProblem<T>& p;
  Conv2dLayout layout;
  bool nhwc = layout == Conv2dLayout::nhwc;

  GuardedBuffer<T> x() const { return GuardedBuffer<T>(nhwc ? turned(p.x, p.shape.channels, p.x_area) : p.x); }
  GuardedBuffer<T> w() const {
    return GuardedBuffer<T>(nhwc ? turned(p.w, p.shape.channels_per_group(), p.taps) : p.w);
  }
  GuardedBuffer<T> dy() const { return GuardedBuffer<T>(nhwc ? turned(p.dy, p.shape.filters, p.y_area) : p.dy); }
  GuardedBuffer<float> workspace(Conv2dDirection direction, TensorCoreMethod method) const {
    return GuardedBuffer<float>(
        std::size_t(conv2d_tensor_core_workspace(p.shape, layout, direction, kPrecisionOf<T>, method)));
  }
  std::vector<float> back(const std::vector<float>& y, index_t channels, index_t area) const {
    return nhwc ? turned(y, channels, area, true) : y;
  }
};

Workspace all_of(GuardedBuffer<float>& buffer) { return {buffer.data(), index_t(buffer.size())}; }

template <class T>
std::vector<float> forward(const NarrowProblem<T>& p, Conv2dLayout layout, TensorCoreMethod method,
                           Activation activation = Activation::none) {
  const Laid<T> laid{p, layout};
  const GuardedBuffer<T> x = laid.x(), w = laid.w();
  const GuardedBuffer<float> bias(p.bias);
  GuardedBuffer<float> y(p.dy.size()), workspace = laid.workspace(Conv2dDirection::forward, method);
  conv2d_forward_tensor_core(p.shape, layout, x.data(), w.data(), bias.data(), y.data(), activation, all_of(workspace),
                             nullptr, method);
  CHECK(y.guards_intact());
  CHECK(workspace.guards_intact());
  return laid.back(y.download(), p.shape.filters, p.y_area);
}

template <class T>
std::vector<float> backward_input(const NarrowProblem<T>& p, Conv2dLayout layout, TensorCoreMethod method) {
  const Laid<T> laid{p, layout};
  const GuardedBuffer<T> dy = laid.dy(), w = laid.w();
  GuardedBuffer<float> dx(p.x.size()), workspace = laid.workspace(Conv2dDirection::backward_input, method);
  conv2d_backward_input_tensor_core(p.shape, layout, dy.data(), w.data(), dx.data(), all_of(workspace), nullptr,
                                    method);
  CHECK(dx.guards_intact());
  CHECK(workspace.guards_intact());
  return laid.back(dx.download(), p.shape.channels, p.x_area);
}

struct Gradients {
  std::vector<float> dw, db;
};

template <class T>
Gradients backward_weight(const NarrowProblem<T>& p, Conv2dLayout layout, TensorCoreMethod method) {
  const Laid<T> laid{p, layout};
  const GuardedBuffer<T> x = laid.x(), dy = laid.dy();
  GuardedBuffer<float> dw(p.w.size()), db(p.bias.size());
  GuardedBuffer<float> workspace = laid.workspace(Conv2dDirection::backward_weight, method);
  conv2d_backward_weight_tensor_core(p.shape, layout, x.data(), dy.data(), dw.data(), db.data(), all_of(workspace),
                                     nullptr, method);
  CHECK(dw.guards_intact());
  CHECK(db.guards_intact());
  CHECK(workspace.guards_intact());
  return {laid.back(dw.download(), p.shape.channels_per_group(), p.taps), db.download()};
}

template <class T>
void check_both_gradients(const NarrowProblem<T>& p, Conv2dLayout layout, TensorCoreMethod method,
                          const std::vector<float>& dx, const Gradients& gradients) {
  const Laid<T> laid{p, layout};
  const GuardedBuffer<T> x = laid.x(), dy = laid.dy(), w = laid.w();
  GuardedBuffer<float> to_dx(p.x.size()), dw(p.w.size()), db(p.bias.size());
  GuardedBuffer<float> workspace = laid.workspace(Conv2dDirection::backward, method);
  conv2d_backward_tensor_core(p.shape, layout, x.data(), dy.data(), w.data(), to_dx.data(), dw.data(), db.data(),
                              all_of(workspace), nullptr, method);
  CHECK(workspace.guards_intact());
  CHECK(laid.back(to_dx.download(), p.shape.channels, p.x_area) == dx);
  CHECK(laid.back(dw.download(), p.shape.channels_per_group(), p.taps) == gradients.dw);
  CHECK(db.download() == gradients.db);
}

template <class T>
void check_directions(const Conv2dShape& s, TensorCoreMethod method) {
  if (!(simt::kEmulated && method == TensorCoreMethod::fastest) && !has_tensor_cores_for(kPrecisionOf<T>)) return;
  const NarrowProblem<T> p(s);
  const double format = sizeof(T) == 4 ? 1e-3 : 1e-2, sums = 4e-6;
  for (const Conv2dLayout layout : {Conv2dLayout::nchw, Conv2dLayout::nhwc}) {
    INFO(text(s), ", layout ", int(layout), ", method ", int(method), ", element ", sizeof(T));
    const std::vector<float> y = forward(p, layout, method), dx = backward_input(p, layout, method);
    const Gradients gradients = backward_weight(p, layout, method);
    check_both_gradients(p, layout, method, dx, gradients);
    CHECK(norm_error(y, p.expected.y) < sums);
    CHECK(norm_error(dx, p.expected.dx) < sums);
    CHECK(norm_error(gradients.dw, p.expected.dw) < sums);
    CHECK(norm_error(gradients.db, p.expected.db) < sums);
    CHECK(norm_error(y, p.exact.y) < format);
    CHECK(norm_error(dx, p.exact.dx) < format);
    CHECK(norm_error(gradients.dw, p.exact.dw) < format);
  }
}

void check_formats(const Conv2dShape& s, TensorCoreMethod method = TensorCoreMethod::tensor_cores) {
  check_directions<float>(s, method);
  check_directions<half>(s, method);
  check_directions<bfloat16>(s, method);
}

}  // namespace

TEST_CASE("conv2d_tensor_core: one channel, one filter, one pixel, one tap") {
  check_formats({});
  check_formats({.batch = 2, .height = 5, .width = 4, .kernel_height = 3, .kernel_width = 2});
}

TEST_CASE("conv2d_tensor_core: channels and filters in eights and not") {
  check_formats(
      {.batch = 3, .channels = 8, .height = 7, .width = 6, .filters = 16, .kernel_height = 3, .kernel_width = 3});
  check_formats(
      {.batch = 2, .channels = 20, .height = 9, .width = 8, .filters = 50, .kernel_height = 5, .kernel_width = 5});
  check_directions<half>({.batch = 2,
                          .channels = 64,
                          .height = 5,
                          .width = 5,
                          .filters = 72,
                          .kernel_height = 3,
                          .kernel_width = 3,
                          .padding = 1},
                         TensorCoreMethod::tensor_cores);
}

TEST_CASE("conv2d_tensor_core: stride, padding, dilation and groups") {
  check_formats({.batch = 2,
                 .channels = 8,
                 .height = 9,
                 .width = 7,
                 .filters = 8,
                 .kernel_height = 3,
                 .kernel_width = 3,
                 .stride = 2,
                 .padding = 1});
  check_formats({.batch = 1,
                 .channels = 3,
                 .height = 11,
                 .width = 10,
                 .filters = 5,
                 .kernel_height = 3,
                 .kernel_width = 2,
                 .stride = 3,
                 .padding = 2,
                 .dilation = 2});
  check_directions<half>({.batch = 2,
                          .channels = 16,
                          .height = 6,
                          .width = 6,
                          .filters = 32,
                          .kernel_height = 1,
                          .kernel_width = 1,
                          .stride = 2,
                          .groups = 2},
                         TensorCoreMethod::tensor_cores);
  check_formats({.batch = 2,
                 .channels = 6,
                 .height = 6,
                 .width = 5,
                 .filters = 9,
                 .kernel_height = 3,
                 .kernel_width = 3,
                 .padding = 1,
                 .groups = 3});
}

TEST_CASE("conv2d_tensor_core: filters beyond a tile, pixels beyond several, k split over blocks") {
  check_directions<half>(
      {.batch = 3, .channels = 8, .height = 12, .width = 11, .filters = 129, .kernel_height = 3, .kernel_width = 3},
      TensorCoreMethod::tensor_cores);
  check_directions<float>(
      {.batch = 4, .channels = 24, .height = 16, .width = 13, .filters = 66, .kernel_height = 2, .kernel_width = 2},
      TensorCoreMethod::tensor_cores);
}

TEST_CASE("conv2d_tensor_core: splits of a weight gradient whose channels or taps are more than a block sums") {
  for (const index_t channels : {23, 144}) {
    check_directions<half>({.batch = 12,
                            .channels = channels,
                            .height = 9,
                            .width = 8,
                            .filters = 3,
                            .kernel_height = 4,
                            .kernel_width = 5},
                           TensorCoreMethod::tensor_cores);
  }
  check_directions<float>(
      {.batch = 3, .channels = 5, .height = 24, .width = 24, .filters = 2, .kernel_height = 16, .kernel_width = 15},
      TensorCoreMethod::tensor_cores);
}

TEST_CASE("conv2d_tensor_core: kernels too long for a mask of taps take the other way") {
  check_formats(
      {.batch = 1, .channels = 2, .height = 17, .width = 18, .filters = 3, .kernel_height = 17, .kernel_width = 2});
}

TEST_CASE("conv2d_tensor_core: more images than 32 bits can number in chunks of 16 bytes take the other way") {
  for (const Conv2dDirection direction : {Conv2dDirection::forward, Conv2dDirection::backward_weight}) {
    const auto workspace = [&](index_t batch, Precision precision, TensorCoreMethod method) {
      return conv2d_tensor_core_workspace({.batch = batch, .channels = 8, .height = 8, .width = 8, .filters = 8},
                                          Conv2dLayout::nhwc, direction, precision, method);
    };
    constexpr index_t kBatch = index_t(1) << 24;  // 2^33 elements
    const auto other = TensorCoreMethod::fastest, tensor = TensorCoreMethod::tensor_cores;
    CHECK(workspace(kBatch, Precision::tf32, tensor) == workspace(kBatch, Precision::tf32, other));
    CHECK(workspace(2 * kBatch, Precision::fp16, tensor) == workspace(2 * kBatch, Precision::fp16, other));
    if (simt::kEmulated) CHECK(workspace(4, Precision::tf32, tensor) != workspace(4, Precision::tf32, other));
  }
}

TEST_CASE("conv2d_tensor_core: the fastest way of this build") {
  check_formats(
      {.batch = 3, .channels = 5, .height = 12, .width = 12, .filters = 7, .kernel_height = 5, .kernel_width = 5},
      TensorCoreMethod::fastest);
}

TEST_CASE("conv2d_tensor_core: activations") {
  const NarrowProblem<half> p(
      {.batch = 2, .channels = 8, .height = 5, .width = 5, .filters = 8, .kernel_height = 3, .kernel_width = 3});
  for (const TensorCoreMethod method : {TensorCoreMethod::fastest, TensorCoreMethod::tensor_cores}) {
    std::vector<double> relu = p.expected.y, tanh = p.expected.y;
    for (double& y : relu) y = y > 0 ? y : 0;
    for (double& y : tanh) y = std::tanh(y);
    CHECK(norm_error(forward(p, Conv2dLayout::nchw, method, Activation::relu), relu) < 4e-6);
    CHECK(norm_error(forward(p, Conv2dLayout::nhwc, method, Activation::tanh), tanh) < 4e-6);
  }
}

TEST_CASE("conv2d_tensor_core: the same bits every time") {
  const NarrowProblem<bfloat16> p(
      {.batch = 5, .channels = 8, .height = 9, .width = 9, .filters = 16, .kernel_height = 3, .kernel_width = 3});
  if (!has_tensor_cores_for(Precision::bf16)) return;
  const auto method = TensorCoreMethod::tensor_cores;
  CHECK(backward_weight(p, Conv2dLayout::nchw, method).dw == backward_weight(p, Conv2dLayout::nchw, method).dw);
  CHECK(backward_weight(p, Conv2dLayout::nchw, method).db == backward_weight(p, Conv2dLayout::nchw, method).db);
}

TEST_CASE("conv2d_tensor_core: a workspace too small is refused") {
  const GuardedBuffer<half> x(rounded<half>(random_floats(9, 1)));
  GuardedBuffer<float> y(9);
  CHECK_THROWS_AS(conv2d_forward_tensor_core({.height = 3, .width = 3}, Conv2dLayout::nchw, x.data(), x.data(), nullptr,
                                             y.data(), Activation::none, {}, nullptr),
                  InvalidArgument);
}

TEST_CASE("layout: there and back, with channels padded") {
  for (const PlanesShape& shape : {PlanesShape{1, 1, 1}, {2, 3, 5}, {3, 31, 33}, {2, 33, 64}, {1, 70, 131}}) {
    const std::vector<float> x = random_floats(std::size_t(shape.size()), 1);
    const index_t padded = shape.channels + 3;
    const GuardedBuffer<float> device_x(x);
    GuardedBuffer<half> y(std::size_t(shape.batch * shape.area * padded));
    GuardedBuffer<float> back(x.size());
    nchw_to_nhwc(shape, padded, device_x.data(), y.data(), nullptr);
    nhwc_to_nchw(shape, padded, y.data(), back.data(), nullptr);
    CHECK(y.guards_intact());
    CHECK(back.guards_intact());
    CHECK(back.download() == floats(rounded<half>(x)));
    const std::vector<half> image = y.download();
    int wrong = 0;
    for (index_t i = 0; i < shape.batch * shape.area; ++i) {
      for (index_t c = shape.channels; c < padded; ++c) wrong += to_float(image[std::size_t(i * padded + c)]) != 0;
    }
    CHECK(wrong == 0);
  }
}
