// A convolution as code that is compiled for its weights alone (kernels/sparse/conv2d_source.h): the candidate
// compiled_conv2d() of a plan. For GPUs; a CPU has too few vector registers for it to gain anything.
#pragma once
#include "kernels/vendor/compiled_conv2d.h"
#include "pruning/selection.h"
#include "pruning/sparse_functions.h"

namespace espalier::pruning {

inline constexpr std::string_view kCompiledConv2d = "compiled conv2d";  // its format, in plans and reports

// Bias, activation and pool are in the code.
struct CompiledConv2dFunction final : Function {
  CompiledConv2dFunction(kernels::vendor::CompiledConv2d compiled, const kernels::Conv2dShape& problem,
                         kernels::ConvPool pool)
      : convolution(std::move(compiled)), shape(problem), pool(pool) {}
  std::string_view name() const override { return "conv2d, compiled"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  Tensors backward(const Tensor& output_gradient, const Context& context) const override;

  kernels::vendor::CompiledConv2d convolution;
  kernels::Conv2dShape shape;
  kernels::ConvPool pool;
};

// Of a recorded convolution, alone or with its pool. Not eligible where less than a quarter of its weights are zero,
// where there are too many nonzeros to compile or where no compiler is found. What was compiled before comes from
// options.objects. Where a GPU is modelled nothing is compiled: the CSR convolution stands in, with the time that the
// code would take.
Implementation compile_conv2d(const RecordedCall& call, const CompileOptions& options);

}  // namespace espalier::pruning
