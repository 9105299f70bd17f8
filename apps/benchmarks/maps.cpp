// Kernels that read each element once and write each once: bound by memory, so GB/s is what to look at. At the size of
// lenet-5's first activation for a batch of 128, and large.
#include "apps/benchmarks/case.h"
#include "apps/benchmarks/operands.h"
#include "core/device/stream.h"
#include "kernels/activation.h"
#include "kernels/elementwise.h"
#include "kernels/precision.h"
#include "kernels/random.h"
#include "kernels/squared_error.h"

namespace espalier::benchmarks {
namespace {

using kernels::Activation;
using kernels::index_t;

struct Size {
  const char* name;
  index_t count;
};
constexpr Size kSizes[] = {{"lenet-5 conv2d_1 output, batch 128", 128 * 20 * 24 * 24}, {"16 Mi elements", 1 << 24}};

struct Map {
  const char* kernel;
  double bytes_per_element, flops_per_element;
  std::function<std::function<void()>(index_t)> make;
};

std::function<void()> binary(index_t n, void (*launcher)(index_t, const float*, const float*, float*, cudaStream_t)) {
  const Tensor a = random({n}, 1), b = random({n}, 2), y = Tensor::empty({n});
  return [=] { launcher(n, a.data<float>(), b.data<float>(), y.data<float>(), current_stream()); };
}

std::function<void()> activation(index_t n, Activation kind, bool forward) {
  const Tensor x = random({n}, 1), dy = random({n}, 2), y = Tensor::empty({n});
  if (forward) {
    return [=] { kernels::activation_forward(n, kind, 0.01f, x.data<float>(), y.data<float>(), current_stream()); };
  }
  return [=] {
    kernels::activation_backward(n, kind, 0.01f, x.data<float>(), dy.data<float>(), y.data<float>(), current_stream());
  };
}

std::function<void()> dropout(index_t n, bool forward) {
  const Tensor x = random({n}), y = Tensor::empty({n}), keep = random_bytes({n}, 2);
  const Tensor step = Tensor::zeros({1}, DType::i64);
  const kernels::Dropout options{.probability = 0.2, .seed = 1};
  if (forward) {
    return [=] {
      kernels::dropout_forward(n, options, step.data<std::int64_t>(), x.data<float>(), y.data<float>(),
                               keep.data<std::uint8_t>(), current_stream());
    };
  }
  return [=] {
    kernels::dropout_backward(n, options, keep.data<std::uint8_t>(), x.data<float>(), y.data<float>(),
                              current_stream());
  };
}

std::function<void()> keep_map(index_t n) {
  const Tensor x = random({n}), y = Tensor::empty({n}), keep = random_bytes({n}, 2);
  return [=] { kernels::apply_keep(n, keep.data<std::uint8_t>(), x.data<float>(), y.data<float>(), current_stream()); };
}

std::function<void()> in_place(index_t n, void (*launch)(index_t, float*)) {
  const Tensor y = Tensor::empty({n});
  return [=] { launch(n, y.data<float>()); };
}

std::function<void()> in_place_of(index_t n, void (*launch)(index_t, const float*, float*)) {
  const Tensor x = random({n}), y = random({n}, 2);
  return [=] { launch(n, x.data<float>(), y.data<float>()); };
}

std::function<void()> nonfinite(index_t n) {
  const Tensor x = random({n}), found = Tensor::zeros({1}, DType::i32);
  return [=] { kernels::any_nonfinite(n, x.data<float>(), found.data<std::int32_t>(), current_stream()); };
}

std::function<void()> keep_at_random(index_t n) {
  const Tensor keep = Tensor::empty({n}, DType::u8);
  return [=] { kernels::bernoulli(n, {.seed = 1}, 0.5, keep.data<std::uint8_t>(), current_stream()); };
}

std::function<void()> scaled_gradient(index_t n) {
  const Tensor x = random({n}), y = Tensor::like(x), factor = Tensor::full({1}, 2.0f);
  return [=] {
    kernels::scale_unit_gradient(n, x.data<float>(), factor.data<float>(), y.data<float>(), current_stream());
  };
}

std::function<void()> bias(index_t n) {
  constexpr index_t channels = 20, area = 24 * 24;
  const kernels::PlanesShape shape{.batch = n / (channels * area), .channels = channels, .area = area};
  const Tensor y = random({n}), b = random({channels}, 2);
  return [=] { kernels::add_bias(shape, b.data<float>(), y.data<float>(), current_stream()); };
}

template <class To>
std::function<void()> conversion(index_t n) {
  const Tensor x = random({n}), y = Tensor::empty({n}, DType::u16);
  return [=] { kernels::convert(n, x.data<float>(), static_cast<To*>(y.raw()), current_stream()); };
}

std::function<void()> tf32(index_t n) {
  const Tensor x = random({n}), y = Tensor::empty({n});
  return [=] { kernels::round_to_tf32(n, x.data<float>(), y.data<float>(), current_stream()); };
}

const Map kMaps[] = {
    {"fill", 4, 0,
     [](index_t n) {
       return in_place(n, [](index_t count, float* y) { kernels::fill(count, 1.0f, y, current_stream()); });
     }},
    {"add", 12, 1, [](index_t n) { return binary(n, kernels::add); }},
    {"scale", 8, 1,
     [](index_t n) {
       return in_place_of(
           n, [](index_t count, const float* x, float* y) { kernels::scale(count, 2.0f, x, y, current_stream()); });
     }},
    {"add_in_place", 12, 1,
     [](index_t n) {
       return in_place_of(n, [](index_t count, const float* x, float* sum) {
         kernels::add_in_place(count, x, sum, current_stream());
       });
     }},
    {"axpy", 12, 2,
     [](index_t n) {
       return in_place_of(
           n, [](index_t count, const float* x, float* y) { kernels::axpy(count, 0.5f, x, y, current_stream()); });
     }},
    {"any_nonfinite", 4, 0, nonfinite},
    {"scale_unit_gradient", 8, 1, scaled_gradient},
    {"bernoulli", 1, 0, keep_at_random},
    {"multiply", 12, 1, [](index_t n) { return binary(n, kernels::multiply); }},
    {"add_bias", 8, 1, bias},
    {"apply_keep", 9, 0, keep_map},
    {"relu forward", 8, 1, [](index_t n) { return activation(n, Activation::relu, true); }},
    {"relu backward", 12, 1, [](index_t n) { return activation(n, Activation::relu, false); }},
    {"gelu forward", 8, 20, [](index_t n) { return activation(n, Activation::gelu, true); }},
    {"gelu backward", 12, 25, [](index_t n) { return activation(n, Activation::gelu, false); }},
    {"fill_uniform", 4, 0,
     [](index_t n) {
       return in_place(
           n, [](index_t count, float* y) { kernels::fill_uniform(count, {.seed = 1}, 0, 1, y, current_stream()); });
     }},
    {"fill_normal", 4, 0,
     [](index_t n) {
       return in_place(
           n, [](index_t count, float* y) { kernels::fill_normal(count, {.seed = 1}, 0, 1, y, current_stream()); });
     }},
    {"dropout forward", 9, 1, [](index_t n) { return dropout(n, true); }},
    {"dropout backward", 9, 1, [](index_t n) { return dropout(n, false); }},
    {"round_to_tf32", 8, 0, tf32},
    {"convert to fp16", 6, 0, conversion<kernels::half>},
    {"convert to bf16", 6, 0, conversion<kernels::bfloat16>},
};

}  // namespace

Cases map_cases() {
  Cases cases;
  for (const Map& map : kMaps) {
    for (const Size& size : kSizes) {
      cases.push_back({.kernel = map.kernel,
                       .shape = size.name,
                       .flops = map.flops_per_element * double(size.count),
                       .bytes = map.bytes_per_element * double(size.count),
                       .prepare = [&map, &size] {
                         return Variants{{"ours", map.make(size.count)}};
                       }});
    }
  }
  return cases;
}

}  // namespace espalier::benchmarks
