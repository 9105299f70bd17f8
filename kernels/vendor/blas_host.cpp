// OpenBLAS on the emulation's threads: C is cut into one strip per thread, and each block of a launch hands its strip
// to a single-threaded OpenBLAS. Its own thread pool would fight ours for the cores, since both spin while they wait: a
// 128 x 1600 x 64 product beside our kernels ran at 220 GFLOP/s instead of 370. A launch is also what a graph records.
#include <cblas.h>

#include <algorithm>
#include <limits>

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/simt/threads.h"
#include "kernels/vendor/blas.h"

namespace espalier::kernels::vendor {
namespace {

// What cblas_sgemm needs, with strides between rows and between columns of the operands as they lie in memory.
struct Product {
  bool a_lies, b_lies;  // transposed
  index_t m, n, k;
  float alpha, beta;
  const float *a, *b;
  float* c;
  index_t leading_a, leading_b, leading_c;
};

// Rows [first, first + count) of C.
Product rows_of(const Product& whole, index_t first, index_t count) {
  Product strip = whole;
  strip.m = count, strip.a += first * (whole.a_lies ? 1 : whole.leading_a), strip.c += first * whole.leading_c;
  return strip;
}

Product columns_of(const Product& whole, index_t first, index_t count) {
  Product strip = whole;
  strip.n = count, strip.b += first * (whole.b_lies ? whole.leading_b : 1), strip.c += first;
  return strip;
}

// The longer side of C is cut, at multiples of 16 floats.
Product strip_of(const Product& whole, index_t strip, index_t strips) {
  const bool by_rows = whole.m >= whole.n;
  const index_t length = by_rows ? whole.m : whole.n, step = ceil_div(ceil_div(length, strips), index_t{16}) * 16;
  const index_t first = std::min(strip * step, length), count = std::min(step, length - first);
  return by_rows ? rows_of(whole, first, count) : columns_of(whole, first, count);
}

__global__ void sgemm_kernel(Product whole) {
  const Product p = strip_of(whole, blockIdx.x, gridDim.x);
  if (p.m == 0 || p.n == 0) return;
  cblas_sgemm(CblasRowMajor, p.a_lies ? CblasTrans : CblasNoTrans, p.b_lies ? CblasTrans : CblasNoTrans, blasint(p.m),
              blasint(p.n), blasint(p.k), p.alpha, p.a, blasint(p.leading_a), p.b, blasint(p.leading_b), p.beta, p.c,
              blasint(p.leading_c));
}

void keep_to_one_thread() {
  static const bool once = (openblas_set_num_threads(1), true);
  static_cast<void>(once);
}

}  // namespace

void gemm(const GemmShape& shape, Transpose transpose_a, Transpose transpose_b, const float* a, const float* b,
          float* c, const GemmEpilogue& epilogue, cudaStream_t stream, Workspace) {
  if (shape.m == 0 || shape.n == 0) return;
  constexpr index_t kMax = std::numeric_limits<blasint>::max(), kWorthAThread = 1 << 18;
  require(shape.m <= kMax && shape.n <= kMax && shape.k <= kMax, "vendor gemm: m ", shape.m, ", n ", shape.n, ", k ",
          shape.k, " exceed OpenBLAS's integers; use the handwritten gemm");
  keep_to_one_thread();
  const bool a_lies = transpose_a == Transpose::yes, b_lies = transpose_b == Transpose::yes;
  const Product product{.a_lies = a_lies,
                        .b_lies = b_lies,
                        .m = shape.m,
                        .n = shape.n,
                        .k = shape.k,
                        .alpha = epilogue.alpha,
                        .beta = epilogue.beta,
                        .a = a,
                        .b = b,
                        .c = c,
                        .leading_a = std::max<index_t>(1, a_lies ? shape.m : shape.k),
                        .leading_b = std::max<index_t>(1, b_lies ? shape.k : shape.n),
                        .leading_c = shape.n};
  const index_t worth = 1 + shape.m * shape.n * shape.k / kWorthAThread;
  const index_t strips =
      std::min({worth, index_t(simt::worker_threads()), ceil_div(std::max(shape.m, shape.n), index_t{16})});
  simt::launch(sgemm_kernel, {.grid = dim3(unsigned(strips)), .block = dim3(1), .stream = stream}, product);
  gemm_epilogue(shape, epilogue, c, stream);
}

index_t gemm_workspace_floats(const GemmShape&) { return 0; }

std::string_view blas_name() { return "OpenBLAS"; }
std::string blas_version() { return openblas_get_config(); }

}  // namespace espalier::kernels::vendor
