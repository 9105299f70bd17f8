// What gemm_tensor_core() decides for all formats: tiles, splits, and what the device can do.
#include "kernels/gemm_tensor_core.h"

#include "kernels/gemm_tensor_core_launch.h"

namespace espalier::kernels {
namespace {

__global__ void capability_kernel() {}

// Of the code that was compiled for this device: asked once, for all devices of a machine run the same.
int capability() {
  static const int value = simt::compiled_capability(reinterpret_cast<const void*>(capability_kernel));
  return value;
}

template <class Tile>
bool suits(const ProductShape& shape, Workspace workspace) {
  const ProductGrid grid = product_grid<Tile>(shape, workspace.floats);
  return shape.m > Tile::kM / 2 && shape.n > Tile::kN / 2 &&
         grid.tiles_m * grid.tiles_n * grid.splits >= kWantedBlocks / 2;
}

}  // namespace

namespace detail {

TensorCorePlan tensor_core_plan(const GemmShape& shape, bool aligned, Precision precision, TensorCoreMethod method,
                                Workspace workspace) {
  const ProductShape product{.m = shape.m, .n = shape.n, .k = shape.k};
  const bool stage = precision == Precision::fp16 && (method == TensorCoreMethod::staged_tiles || capability() < 80);
  const bool large = method == TensorCoreMethod::large_tiles || method == TensorCoreMethod::staged_tiles ||
                     (method != TensorCoreMethod::small_tiles && suits<TensorLargeTile>(product, workspace));
  const ProductGrid small_grid = product_grid<TensorSmallTile>(product, workspace.floats);
  if (!aligned) return {TensorCoreTiles::elements, small_grid};
  if (!large) return {TensorCoreTiles::small, small_grid};
  return {stage ? TensorCoreTiles::staged : TensorCoreTiles::large,
          product_grid<TensorLargeTile>(product, workspace.floats)};
}

void check_tensor_core_gemm(const GemmShape& shape, const void* a, const void* b, const void* c, Precision precision,
                            TensorCoreMethod method) {
  require(shape.m >= 0 && shape.n >= 0 && shape.k >= 0, "gemm_tensor_core: m ", shape.m, ", n ", shape.n, ", k ",
          shape.k, "; sizes cannot be negative");
  require(a != c && b != c, "gemm_tensor_core: C is also an operand (m ", shape.m, ", n ", shape.n, ", k ", shape.k,
          "); write the product elsewhere");
  if (simt::kEmulated && method == TensorCoreMethod::fastest) return;
  require(has_tensor_cores_for(precision),
          "gemm_tensor_core: the code for this GPU is compiled for compute capability ", capability() / 10, ".",
          capability() % 10,
          ", whose tensor cores know fp16 only; take fp16 or fp32, or a GPU of compute capability 8.0");
}

}  // namespace detail

bool has_tensor_cores_for(Precision precision) {
  return precision == Precision::fp16 ? capability() >= 75 : precision != Precision::fp32 && capability() >= 80;
}

index_t gemm_tensor_core_workspace_floats(const GemmShape& shape, TensorCoreMethod method) {
  if (shape.m == 0 || shape.n == 0) return 0;
  const ProductShape product{.m = shape.m, .n = shape.n, .k = shape.k};
  if (simt::kEmulated && method == TensorCoreMethod::fastest) {
    return std::max(gemm_workspace_floats(shape), product_workspace_floats<HostTile>(product));
  }
  index_t most = 0;  // over what alignment may make of it
  for (const bool aligned : {false, true}) {
    const auto plan = detail::tensor_core_plan(shape, aligned, Precision::fp16, method, {.floats = INT64_MAX});
    most = std::max(most, plan.grid.workspace_floats());
  }
  return most;
}

}  // namespace espalier::kernels
