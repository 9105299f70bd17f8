// Convolutions compiled for their weights alone, beside CSR and dense.
#include "apps/benchmarks/compiled_convolution.h"

#include "apps/benchmarks/case.h"
#include "apps/benchmarks/operands.h"
#include "core/device/stream.h"
#include "kernels/conv2d.h"
#include "kernels/vendor/compiled_conv2d.h"
#include "pruning/sparse_functions.h"

// Whatever they take: only their addresses are asked for.
extern "C" void espalier_conv2d_lenet_5();
extern "C" void espalier_conv2d_seed_cnn();

namespace espalier::benchmarks {
namespace {

using kernels::vendor::CompiledConv2d;

const void* code_of(const CompiledConvolution& one) {
  return reinterpret_cast<const void*>(one.word == "lenet_5" ? espalier_conv2d_lenet_5 : espalier_conv2d_seed_cnn);
}

Variants variants(const CompiledConvolution& one) {
  const kernels::Conv2dShape& s = one.shape;
  const Tensor x = random({s.batch, s.channels, s.height, s.width}), y = Tensor::empty({s.output_size()});
  const Tensor weight = sparse_weight({s.filters, s.patch()}, kCompiledSparsity);
  const CompiledConv2d compiled(source_of(s, CompiledConv2d::target()), code_of(one));
  const auto csr = std::make_shared<pruning::CsrConv2dFunction>(pruning::Csr::encode(weight), s);
  const Scratch scratch(kernels::conv2d_forward_workspace(s));
  return {{"ours", [=] { compiled(s.batch, x.data<float>(), y.data<float>(), current_stream()); }},
          {"ours, csr",
           [=] {
             Context context{.recording = false};
             csr->forward({x}, context);
           }},
          {"ours, dense", [=] {
             kernels::conv2d_forward(s, x.data<float>(), weight.data<float>(), nullptr, y.data<float>(),
                                     kernels::Activation::none, current_stream(), kernels::Conv2dMethod::fastest,
                                     kernels::kDefaultLeakySlope, scratch.get());
           }}};
}

}  // namespace

Cases compiled_convolution_cases() {
  Cases cases;
  constexpr double kKept = 1 - kCompiledSparsity;
  for (const CompiledConvolution& one : kCompiledConvolutions) {
    const kernels::Conv2dShape& s = one.shape;
    cases.push_back({.kernel = "compiled conv2d, 90 %",
                     .shape = std::string(one.name),
                     .flops = kKept * double(s.flops()),
                     .bytes = 8 * kKept * double(s.weight_size()) + 4.0 * double(s.input_size() + s.output_size()),
                     .prepare = [one] { return variants(one); },
                     .large = true});
  }
  return cases;
}

}  // namespace espalier::benchmarks
