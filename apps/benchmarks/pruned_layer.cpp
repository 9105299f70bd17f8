#include "apps/benchmarks/pruned_layer.h"

#include "core/device/stream.h"
#include "kernels/gemm.h"
#include "kernels/vendor/blas.h"

namespace espalier::benchmarks {

using kernels::Transpose;

void add_dense(Variants& variants, const PrunedLayer& layer, const LayerOperands& t, const Tensor& weight) {
  const kernels::GemmShape s = layer.gemm();
  const Scratch scratch(kernels::gemm_workspace_floats(s)), theirs(kernels::vendor::gemm_workspace_floats(s));
  variants.push_back({"ours, dense", [=] {
                        kernels::gemm(s, Transpose::no, Transpose::yes, t.x.data<float>(), weight.data<float>(),
                                      t.y.data<float>(), {}, current_stream(), scratch.get());
                      }});
  variants.push_back({std::string(kernels::vendor::blas_name()) + ", dense", [=] {
                        kernels::vendor::gemm(s, Transpose::no, Transpose::yes, t.x.data<float>(), weight.data<float>(),
                                              t.y.data<float>(), {}, current_stream(), theirs.get());
                      }});
}

Case pruned_layer_case(const PrunedLayer& layer, const std::string& kernel, double kept, double weight_bytes,
                       Variants (*prepare)(const PrunedLayer&)) {
  const double weights = double(layer.rows * layer.columns);
  return {.kernel = kernel,
          .shape = layer.name,
          .flops = 2 * kept * weights * double(layer.batch),
          .bytes = weight_bytes * weights + 4.0 * double(layer.batch * (layer.rows + layer.columns)),
          .prepare = [=] { return prepare(layer); },
          .large = layer.large};
}

}  // namespace espalier::benchmarks
