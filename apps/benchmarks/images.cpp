// Pooling, batches gathered out of a data set, im2col, layouts: bound by memory.
#include "apps/benchmarks/case.h"
#include "apps/benchmarks/operands.h"
#include "core/device/stream.h"
#include "kernels/gather.h"
#include "kernels/im2col.h"
#include "kernels/layout.h"
#include "kernels/pool2d.h"

namespace espalier::benchmarks {
namespace {

using kernels::AverageDivisor;
using kernels::Pool2dShape;

struct Pool {
  const char* name;
  Pool2dShape shape;
};
constexpr Pool kPools[] = {
    {"lenet-5 20 x 24 x 24, batch 128", {.planes = 128 * 20, .height = 24, .width = 24}},
    {"seed-cnn 64 x 11 x 11, batch 128", {.planes = 128 * 64, .height = 11, .width = 11}},
    {"64 x 112 x 112, window 3, stride 2, batch 32",
     {.planes = 32 * 64,
      .height = 112,
      .width = 112,
      .window_height = 3,
      .window_width = 3,
      .stride = 2,
      .padding = 1}},
};

struct PoolOperands {
  Tensor x, y, places;
  explicit PoolOperands(const Pool2dShape& s)
      : x(random({s.input_size()})), y(random({s.output_size()}, 2)), places(random_bytes({s.output_size()}, 4)) {}
};

Case pool_case(const Pool& pool, const char* kernel, double output_bytes,
               void (*launch)(const Pool2dShape&, const PoolOperands&)) {
  const Pool2dShape s = pool.shape;
  return {.kernel = kernel,
          .shape = pool.name,
          .flops = double(s.output_size() * s.window_height * s.window_width),
          .bytes = 4.0 * double(s.input_size()) + output_bytes * double(s.output_size()),
          .prepare = [=] {
            const PoolOperands t(s);
            return Variants{{"ours", [=] { launch(s, t); }}};
          }};
}

void add_pools(Cases& cases) {
  for (const Pool& pool : kPools) {
    cases.push_back(pool_case(pool, "max_pool2d_forward", 5, [](const Pool2dShape& s, const PoolOperands& t) {
      kernels::max_pool2d_forward(s, t.x.data<float>(), t.y.data<float>(), t.places.data<std::uint8_t>(),
                                  current_stream());
    }));
    cases.push_back(pool_case(pool, "max_pool2d_backward", 5, [](const Pool2dShape& s, const PoolOperands& t) {
      kernels::max_pool2d_backward(s, t.places.data<std::uint8_t>(), t.y.data<float>(), t.x.data<float>(),
                                   current_stream());
    }));
    cases.push_back(pool_case(pool, "average_pool2d_forward", 4, [](const Pool2dShape& s, const PoolOperands& t) {
      kernels::average_pool2d_forward(s, AverageDivisor::window, t.x.data<float>(), t.y.data<float>(),
                                      current_stream());
    }));
    cases.push_back(pool_case(pool, "average_pool2d_backward", 4, [](const Pool2dShape& s, const PoolOperands& t) {
      kernels::average_pool2d_backward(s, AverageDivisor::window, t.y.data<float>(), t.x.data<float>(),
                                       current_stream());
    }));
  }
}

// A batch in shuffled order out of 60000 images of 28 x 28 bytes.
Case gather_case(const char* name, std::int64_t batch) {
  const kernels::GatherShape s{.batch = batch, .channels = 1, .height = 28, .width = 28};
  return {.kernel = "gather_batch", .shape = name, .bytes = double(s.bytes()), .prepare = [=] {
            constexpr std::int64_t kSamples = 60000;
            const Tensor pixels = random_bytes({kSamples * s.pixels()});
            const Tensor indices = random_labels(batch, kSamples), images = Tensor::empty({s.output_size()});
            const Tensor given = random_bytes({kSamples}), labels = Tensor::empty({batch}, DType::i32);
            return Variants{{"ours", [=] {
                               kernels::gather_batch(s, {},
                                                     {.pixels = pixels.data<std::uint8_t>(),
                                                      .labels = given.data<std::uint8_t>(),
                                                      .order = indices.data<std::int32_t>()},
                                                     {images.data<float>(), labels.data<std::int32_t>()},
                                                     current_stream());
                             }}};
          }};
}

constexpr kernels::Conv2dShape kUnfolded{
    .batch = 128, .channels = 20, .height = 12, .width = 12, .filters = 50, .kernel_height = 5, .kernel_width = 5};

void add_unfolding(Cases& cases) {
  const auto& s = kUnfolded;
  const double bytes = 4.0 * double(s.input_size() + kernels::im2col_size(s));
  const auto make = [&](const char* kernel, auto launch) {
    cases.push_back({.kernel = kernel, .shape = "lenet-5 conv2d_2, batch 128", .bytes = bytes, .prepare = [=] {
                       const Tensor x = random({s.input_size()});
                       const Tensor columns = random({kernels::im2col_size(s)}, 2);
                       return Variants{{"ours", [=] { launch(x, columns); }}};
                     }});
  };
  make("im2col", [](const Tensor& x, const Tensor& columns) {
    kernels::im2col(kUnfolded, x.data<float>(), columns.data<float>(), current_stream());
  });
  make("col2im", [](const Tensor& x, const Tensor& columns) {
    kernels::col2im(kUnfolded, columns.data<float>(), x.data<float>(), current_stream());
  });
}

void add_layouts(Cases& cases) {
  constexpr kernels::PlanesShape s{.batch = 128, .channels = 32, .area = 14 * 14};
  const auto make = [&](const char* kernel, auto launch) {
    cases.push_back({.kernel = kernel,
                     .shape = "resnet-small 32 x 14 x 14, batch 128",
                     .bytes = 8.0 * double(s.size()),
                     .prepare = [=] {
                       const Tensor x = random({s.size()}), y = Tensor::like(x);
                       return Variants{{"ours", [=] { launch(x, y); }}};
                     }});
  };
  make("nchw_to_nhwc", [s](const Tensor& x, const Tensor& y) {
    kernels::nchw_to_nhwc<float, float>(s, s.channels, x.data<float>(), y.data<float>(), current_stream());
  });
  make("swap_outer_axes", [s](const Tensor& x, const Tensor& y) {
    kernels::swap_outer_axes(s.batch, s.channels, s.area, x.data<float>(), y.data<float>(), current_stream());
  });
  make("nhwc_to_nchw", [s](const Tensor& x, const Tensor& y) {
    kernels::nhwc_to_nchw<float, float>(s, s.channels, x.data<float>(), y.data<float>(), current_stream());
  });
}

}  // namespace

Cases image_cases() {
  Cases cases;
  add_pools(cases);
  cases.push_back(gather_case("28 x 28, batch 128", 128));
  cases.push_back(gather_case("28 x 28, batch 4096", 4096));
  add_unfolding(cases);
  add_layouts(cases);
  return cases;
}

}  // namespace espalier::benchmarks
