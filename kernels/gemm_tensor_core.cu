// gemm_tensor_core(): chooses tile and loaders. The product itself is tensor_core_product.h.
#include "kernels/gemm_tensor_core.h"

#include "kernels/activation_math.h"
#include "kernels/gemm_epilogue.h"
#include "kernels/gemm_widening_loaders.h"
#include "kernels/require.h"
#include "kernels/tiled_product.h"

namespace espalier::kernels {
namespace {

template <class T>
struct Operands {
  Transpose transpose_a, transpose_b;
  NarrowView<T> a, b;
};

template <class In, class Out>
void multiply_on_host(const GemmShape& shape, const Operands<In>& in, const EpilogueStore<Out>& store,
                      Workspace workspace, cudaStream_t stream) {
  using DeepA = WideningDeepLoader<HostTile, Side::a, In>;
  using WideA = WideningWideLoader<HostTile, Side::a, In>;
  using DeepB = WideningDeepLoader<HostTile, Side::b, In>;
  using WideB = WideningWideLoader<HostTile, Side::b, In>;
  const ProductShape product{.m = shape.m, .n = shape.n, .k = shape.k};
  if (in.transpose_a == Transpose::no && in.transpose_b == Transpose::no) {
    tiled_product<HostTile, DeepA, WideB>(product, in.a, in.b, store, workspace, stream);
  } else if (in.transpose_a == Transpose::no) {
    tiled_product<HostTile, DeepA, DeepB>(product, in.a, in.b, store, workspace, stream);
  } else if (in.transpose_b == Transpose::no) {
    tiled_product<HostTile, WideA, WideB>(product, in.a, in.b, store, workspace, stream);
  } else {
    tiled_product<HostTile, WideA, DeepB>(product, in.a, in.b, store, workspace, stream);
  }
}

// The activations that the store does not know, as a pass of their own.
template <class T>
__global__ void activation_kernel(index_t count, Activation activation, float slope, T* y) {
  for_each_element(count,
                   [=](index_t i) { y[i] = from_float<T>(apply_activation(activation, to_float(y[i]), slope)); });
}

}  // namespace

template <class In, class Out>
void gemm_tensor_core(const GemmShape& shape, Transpose transpose_a, Transpose transpose_b, const In* a, const In* b,
                      Out* c, const GemmEpilogue& epilogue, cudaStream_t stream, Workspace workspace,
                      TensorCoreMethod) {
  require(shape.m >= 0 && shape.n >= 0 && shape.k >= 0, "gemm_tensor_core: m ", shape.m, ", n ", shape.n, ", k ",
          shape.k, "; sizes cannot be negative");
  if (shape.m == 0 || shape.n == 0) return;
  require(simt::kEmulated, "gemm_tensor_core: exists in the cpu build only; use gemm() and fp32");
  if (workspace.data == nullptr) workspace.floats = 0;
  if constexpr (simt::kEmulated) {
    if constexpr (sizeof(In) == sizeof(float)) {
      return gemm(shape, transpose_a, transpose_b, a, b, c, epilogue, stream, workspace);
    } else {
      const Operands<In> in{transpose_a,
                            transpose_b,
                            {a, transpose_a == Transpose::no ? shape.k : shape.m, shape.m},
                            {b, transpose_b == Transpose::no ? shape.n : shape.k, shape.n}};
      multiply_on_host(shape, in, epilogue_store(shape, epilogue, c), workspace, stream);
    }
  }
  if (!is_straight(epilogue.activation)) {
    const index_t count = shape.m * shape.n;
    simt::launch(activation_kernel<Out>, elements_grid(count, stream), count, epilogue.activation, epilogue.leaky_slope,
                 c);
  }
}

index_t gemm_tensor_core_workspace_floats(const GemmShape& shape, TensorCoreMethod) {
  if (shape.m == 0 || shape.n == 0) return 0;
  return std::max(gemm_workspace_floats(shape),
                  product_workspace_floats<HostTile>({.m = shape.m, .n = shape.n, .k = shape.k}));
}

bool has_tensor_cores_for(Precision precision) { return simt::kEmulated && precision != Precision::fp32; }

template void gemm_tensor_core(const GemmShape&, Transpose, Transpose, const float*, const float*, float*,
                               const GemmEpilogue&, cudaStream_t, Workspace, TensorCoreMethod);
template void gemm_tensor_core(const GemmShape&, Transpose, Transpose, const half*, const half*, float*,
                               const GemmEpilogue&, cudaStream_t, Workspace, TensorCoreMethod);
template void gemm_tensor_core(const GemmShape&, Transpose, Transpose, const half*, const half*, half*,
                               const GemmEpilogue&, cudaStream_t, Workspace, TensorCoreMethod);
template void gemm_tensor_core(const GemmShape&, Transpose, Transpose, const bfloat16*, const bfloat16*, float*,
                               const GemmEpilogue&, cudaStream_t, Workspace, TensorCoreMethod);
template void gemm_tensor_core(const GemmShape&, Transpose, Transpose, const bfloat16*, const bfloat16*, bfloat16*,
                               const GemmEpilogue&, cudaStream_t, Workspace, TensorCoreMethod);

}  // namespace espalier::kernels
