// The launcher behind gemm_tensor_core(), for one format of operands: a source file each, which compile side by side.
#pragma once
#include "kernels/activation_math.h"
#include "kernels/gemm_epilogue.h"
#include "kernels/gemm_tensor_core.h"
#include "kernels/gemm_widening_loaders.h"
#include "kernels/require.h"
#include "kernels/tensor_core_loaders.h"
#include "kernels/tiled_product.h"

namespace espalier::kernels::detail {

template <class T>
struct NarrowOperands {
  Transpose transpose_a, transpose_b;
  NarrowView<T> a, b;
};

template <class T>
NarrowView<T> narrow_view(const T* data, index_t leading, index_t width) {
  const bool aligned = reinterpret_cast<std::uintptr_t>(data) % kChunkBytes == 0 && leading % kChunk<T> == 0 &&
                       leading <= INT32_MAX / index_t(sizeof(T));  // ChunkLoader's pitch
  return {data, leading, width, aligned};
}

// C in fp32 or in the operands' format, or the sums of a split in fp32, without a kernel for each.
template <class T>
struct TensorCoreStore : Epilogue {
  static constexpr bool kNarrow = sizeof(T) != sizeof(float);

  float* c;
  T* narrow_c;    // instead, if not null
  index_t plane;  // floats from one split's sums to the next

  __device__ void operator()(index_t batch, index_t row, index_t column, const float (&sums)[4]) const {
    const index_t at = row * n + column, left = n - column;
    const bool narrow = kNarrow && narrow_c != nullptr;
    float* to = narrow ? nullptr : c + batch * plane + at;
    float values[4];
    if (!finish(row, column, sums, values, [&](int i) { return narrow ? to_float(narrow_c[at + i]) : to[i]; })) return;
    if constexpr (kNarrow) {
      if (narrow) return store_run(narrow_c + at, left, aligned, values);
    }
    store_four(to, left, aligned, values);
  }
};

template <class T, class Out>
TensorCoreStore<T> tensor_core_store(const EpilogueStore<Out>& store) {
  if constexpr (std::is_same_v<Out, float>) {
    return {store, store.c, nullptr, 0};
  } else {
    return {store, nullptr, store.c, 0};
  }
}

template <class T>
TensorCoreStore<T> partial_store(const GemmShape& shape, float* partial) {
  return {epilogue_store(shape, GemmEpilogue{}, partial), partial, nullptr, shape.m * shape.n};
}

// How a method is carried out. Big tiles reuse what they load more often, small ones leave fewer multiprocessors idle:
// large ones where C fills them at least half and half the wanted blocks are left. staged: large ones that pass through
// registers, for fp16 where there is no cp.async. elements: for rows that are not aligned.
enum class TensorCoreTiles { large, small, staged, elements };
struct TensorCorePlan {
  TensorCoreTiles tiles;
  ProductGrid grid;
};
TensorCorePlan tensor_core_plan(const GemmShape& shape, bool aligned, Precision precision, TensorCoreMethod method,
                                Workspace workspace);

// tf32 is turned over in flight where 16-bit elements are by ldmatrix.
template <class Tile, Side kSide, class T, bool kStaged>
using WideChunkLoader = std::conditional_t<sizeof(T) == sizeof(float), TurningLoader<Tile, kSide>,
                                           ChunkLoader<Tile, kSide, T, Along::width, kStaged>>;

template <class Tile, bool kStaged, class T>
void multiply_chunks(const ProductGrid& grid, const NarrowOperands<T>& in, const TensorCoreStore<T>& store,
                     cudaStream_t stream) {
  using DeepA = ChunkLoader<Tile, Side::a, T, Along::depth, kStaged>;
  using WideA = WideChunkLoader<Tile, Side::a, T, kStaged>;
  using DeepB = ChunkLoader<Tile, Side::b, T, Along::depth, kStaged>;
  using WideB = WideChunkLoader<Tile, Side::b, T, kStaged>;
  if (in.transpose_a == Transpose::no && in.transpose_b == Transpose::no) {
    tensor_core_product<Tile, DeepA, WideB>(grid, in.a, in.b, store, stream);
  } else if (in.transpose_a == Transpose::no) {
    tensor_core_product<Tile, DeepA, DeepB>(grid, in.a, in.b, store, stream);
  } else if (in.transpose_b == Transpose::no) {
    tensor_core_product<Tile, WideA, WideB>(grid, in.a, in.b, store, stream);
  } else {
    tensor_core_product<Tile, WideA, DeepB>(grid, in.a, in.b, store, stream);
  }
}

template <class T>
ElementView<T> element_view(const NarrowView<T>& view, bool deep) {
  return {view.data, view.width, deep ? view.leading : 1, deep ? 1 : view.leading};
}

// The second pass of a split: C = the splits' sums in ascending order, through the product's own store. Four are read
// at once, where sum_splits() of the other products reads every sector four times.
template <class Out>
__global__ void sum_fours_kernel(GemmShape shape, index_t splits, const float* partial, bool aligned,
                                 EpilogueStore<Out> store) {
  const index_t runs = ceil_div<index_t>(shape.n, 4);
  for_each_element(shape.m * runs, [&](index_t i) {
    const index_t row = i / runs, column = i % runs * 4, left = shape.n - column;
    const float* from = partial + row * shape.n + column;
    float sum[4] = {};
    for (index_t split = 0; split < splits; ++split, from += shape.m * shape.n) {
      if (aligned) {
        const float4 four = *reinterpret_cast<const float4*>(from);
        sum[0] += four.x, sum[1] += four.y, sum[2] += four.z, sum[3] += four.w;
      } else {
#pragma unroll
        for (int c = 0; c < 4; ++c) sum[c] += c < left ? from[c] : 0.0f;
      }
    }
    store(0, row, column, sum);
  });
}

template <class Out>
void sum_fours(const GemmShape& shape, index_t splits, const float* partial, const EpilogueStore<Out>& store,
               cudaStream_t stream) {
  simt::launch(sum_fours_kernel<Out>, elements_grid(shape.m * shape.n, stream), shape, splits, partial,
               rows_aligned(partial, shape.n), store);
}

template <class T, class Out>
void tensor_core_gemm(const GemmShape& shape, const NarrowOperands<T>& in, const EpilogueStore<Out>& store,
                      TensorCoreMethod method, Workspace workspace, cudaStream_t stream) {
  const TensorCorePlan plan = tensor_core_plan(shape, in.a.aligned && in.b.aligned, kPrecisionOf<T>, method, workspace);
  const ProductGrid& grid = plan.grid;
  const auto to = grid.splits == 1 ? tensor_core_store<T>(store) : partial_store<T>(shape, workspace.data);
  switch (plan.tiles) {
    case TensorCoreTiles::large:
      multiply_chunks<TensorLargeTile, false>(grid, in, to, stream);
      break;
    case TensorCoreTiles::small:
      multiply_chunks<TensorSmallTile, false>(grid, in, to, stream);
      break;
    case TensorCoreTiles::staged:
      if constexpr (std::is_same_v<T, half>) multiply_chunks<TensorStagedTile, true>(grid, in, to, stream);
      break;
    case TensorCoreTiles::elements:
      using ElementA = ElementLoader<TensorStagedSmallTile, Side::a, T>;
      using ElementB = ElementLoader<TensorStagedSmallTile, Side::b, T>;
      tensor_core_product<TensorStagedSmallTile, ElementA, ElementB>(
          grid, element_view(in.a, in.transpose_a == Transpose::no),
          element_view(in.b, in.transpose_b == Transpose::yes), to, stream);
  }
  if (grid.splits > 1) sum_fours(shape, grid.splits, workspace.data, store, stream);
}

// The CPU's way: its vectors multiply floats, so the operands are widened in the cache.
template <class T, class Out>
void gemm_on_host(const GemmShape& shape, const NarrowOperands<T>& in, const EpilogueStore<Out>& store,
                  Workspace workspace, cudaStream_t stream) {
  using DeepA = WideningDeepLoader<HostTile, Side::a, T>;
  using WideA = WideningWideLoader<HostTile, Side::a, T>;
  using DeepB = WideningDeepLoader<HostTile, Side::b, T>;
  using WideB = WideningWideLoader<HostTile, Side::b, T>;
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
__global__ void activation_in_place_kernel(index_t count, Activation activation, float slope, T* y) {
  for_each_element(count,
                   [=](index_t i) { y[i] = from_float<T>(apply_activation(activation, to_float(y[i]), slope)); });
}

// sums [m] = op(A) * 1, lanes along m as in the gradient of a bias, eight slices of k to a block; on a CPU one thread
// runs along m.
template <int kRun, class T>
__global__ void row_sums_kernel(index_t m, index_t k, index_t row_step, index_t depth_step, const T* a, float* sums) {
  constexpr int kSlices = kRun == 1 ? 8 : 1, kLanes = kRun == 1 ? 32 : 1;
  const index_t first = (index_t(blockIdx.x) * kLanes + threadIdx.x) * kRun;
  float sum[kRun] = {};
  for (index_t i = threadIdx.y; i < k; i += kSlices) {
    const T* from = a + first * row_step + i * depth_step;
#pragma unroll
    for (int r = 0; r < kRun; ++r) sum[r] += first + r < m ? to_float(from[r * row_step]) : 0.0f;
  }
  if constexpr (kSlices > 1) {
    __shared__ float of_slice[kSlices][kLanes];
    of_slice[threadIdx.y][threadIdx.x] = sum[0];
    __syncthreads();
    if (threadIdx.y > 0) return;
    for (int slice = 1; slice < kSlices; ++slice) sum[0] += of_slice[slice][threadIdx.x];
  }
#pragma unroll
  for (int r = 0; r < kRun; ++r) {
    if (first + r < m) sums[first + r] = sum[r];
  }
}

template <class T>
void row_sums(const GemmShape& shape, const NarrowOperands<T>& in, float* sums, cudaStream_t stream) {
  constexpr int kRun = simt::kEmulated ? 64 : 1, kRows = simt::kEmulated ? kRun : 32;
  const bool deep = in.transpose_a == Transpose::no;
  const dim3 grid(unsigned(ceil_div<index_t>(shape.m, kRows))), block = simt::kEmulated ? dim3(1) : dim3(32, 8);
  simt::launch(row_sums_kernel<kRun, T>, {.grid = grid, .block = block, .stream = stream}, shape.m, shape.k,
               deep ? in.a.leading : 1, deep ? 1 : in.a.leading, in.a.data, sums);
}

void check_tensor_core_gemm(const GemmShape& shape, const void* a, const void* b, const void* c, Precision precision,
                            TensorCoreMethod method);

}  // namespace espalier::kernels::detail

namespace espalier::kernels {

template <class In, class Out>
void gemm_tensor_core(const GemmShape& shape, Transpose transpose_a, Transpose transpose_b, const In* a, const In* b,
                      Out* c, const GemmEpilogue& epilogue, cudaStream_t stream, Workspace workspace,
                      TensorCoreMethod method) {
  if (shape.m == 0 || shape.n == 0) return;
  detail::check_tensor_core_gemm(shape, a, b, c, kPrecisionOf<In>, method);
  if (workspace.data == nullptr) workspace.floats = 0;
  const detail::NarrowOperands<In> in{
      transpose_a, transpose_b, detail::narrow_view(a, transpose_a == Transpose::no ? shape.k : shape.m, shape.m),
      detail::narrow_view(b, transpose_b == Transpose::no ? shape.n : shape.k, shape.n)};
  const bool host = simt::kEmulated && method == TensorCoreMethod::fastest;
  if constexpr (simt::kEmulated && sizeof(In) == sizeof(float)) {
    if (host) return gemm(shape, transpose_a, transpose_b, a, b, c, epilogue, stream, workspace);
  } else if constexpr (simt::kEmulated) {
    if (host) detail::gemm_on_host(shape, in, epilogue_store(shape, epilogue, c), workspace, stream);
  }
  if (!host) detail::tensor_core_gemm(shape, in, epilogue_store(shape, epilogue, c), method, workspace, stream);
  if (epilogue.row_sums != nullptr) detail::row_sums(shape, in, epilogue.row_sums, stream);
  if (!is_straight(epilogue.activation)) {
    const index_t count = shape.m * shape.n;
    simt::launch(detail::activation_in_place_kernel<Out>, elements_grid(count, stream), count, epilogue.activation,
                 epilogue.leaky_slope, c);
  }
}

}  // namespace espalier::kernels
