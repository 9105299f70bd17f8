#include "apps/benchmarks/sampled.h"

#include <functional>
#include <string>
#include <string_view>
#include <tuple>

#include "apps/benchmarks/operands.h"
#include "core/device/stream.h"
#include "core/train/kept_weights.h"
#include "kernels/gemm.h"
#include "kernels/sparse/csr_sddmm.h"
#include "kernels/vendor/blas.h"
#include "kernels/vendor/sparse.h"

namespace espalier::benchmarks {
namespace {

using kernels::Transpose;

struct Gradient {
  Gradient(const Tensor& weight, std::int64_t batch)
      : shape{weight.shape()[0], weight.shape()[1], batch},
        x(random({batch, shape.n})),
        dy(random({batch, shape.m}, 2)),
        dw(Tensor::empty({shape.m, shape.n})),
        kept(keep_of(weight)) {}

  pruning::MeasuredImplementation measured(const char* format, std::string_view library, std::int64_t of_weight,
                                           const std::function<void()>& work) const {
    pruning::MeasuredImplementation one{format, std::string(library)};
    one.timing = benchmark(work), one.us = one.timing.median_us;
    one.weight_bytes = of_weight, one.bytes = of_weight + 4 * (x.size() + dy.size());
    return one;
  }

  kernels::GemmShape shape;  // rows, columns, batch
  Tensor x, dy, dw;
  KeptWeights kept;
};

}  // namespace

std::vector<pruning::MeasuredImplementation> sampled_gradients(const Tensor& weight, std::int64_t batch) {
  Gradient g(weight, batch);
  const auto [dy, x, dw] = std::tuple(g.dy.data<float>(), g.x.data<float>(), g.dw.data<float>());
  const std::int64_t whole = 4 * g.shape.m * g.shape.n, sampled = 4 * (g.shape.m + 1 + 2 * g.kept.view().kept);
  const Scratch ours(kernels::gemm_workspace_floats(g.shape)), blas(kernels::vendor::gemm_workspace_floats(g.shape));
  const Tensor x_panels = panels_of(g.x), dy_panels = panels_of(g.dy);
  const auto& vendor = g.kept.sampled_product(batch);
  return {
      g.measured(
          "dense, dw", "handwritten", whole,
          [&] { kernels::gemm(g.shape, Transpose::yes, Transpose::no, dy, x, dw, {}, current_stream(), ours.get()); }),
      g.measured("dense, dw", kernels::vendor::blas_name(), whole,
                 [&] {
                   kernels::vendor::gemm(g.shape, Transpose::yes, Transpose::no, dy, x, dw, {}, current_stream(),
                                         blas.get());
                 }),
      g.measured("csr, dw", "handwritten", sampled,
                 [&] {
                   kernels::csr_sddmm(batch, g.kept.view(), dy_panels.data<float>(), x_panels.data<float>(), dw,
                                      nullptr, current_stream());
                 }),
      g.measured("csr, dw", kernels::vendor::sparse_name(), sampled, [&] { vendor(dy, x, dw, current_stream()); })};
}

}  // namespace espalier::benchmarks
