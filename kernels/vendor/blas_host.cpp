// OpenBLAS, as part of a stream of the emulated runtime: a captured step replays it like any kernel.
#include <cblas.h>

#include <algorithm>
#include <limits>

#include "kernels/require.h"
#include "kernels/simt/threads.h"
#include "kernels/vendor/blas.h"

namespace espalier::kernels::vendor {
namespace {

// OpenBLAS would start a thread per core on its own; it gets what the emulation has.
void share_threads() {
  static const bool once = (openblas_set_num_threads(int(simt::worker_threads())), true);
  static_cast<void>(once);
}

}  // namespace

void gemm(const GemmShape& shape, Transpose transpose_a, Transpose transpose_b, const float* a, const float* b,
          float* c, const GemmEpilogue& epilogue, cudaStream_t stream, Workspace) {
  if (shape.m == 0 || shape.n == 0) return;
  constexpr index_t kMax = std::numeric_limits<blasint>::max();
  require(shape.m <= kMax && shape.n <= kMax && shape.k <= kMax, "vendor gemm: m ", shape.m, ", n ", shape.n, ", k ",
          shape.k, " exceed OpenBLAS's integers; use the handwritten gemm");
  share_threads();
  const bool a_lies = transpose_a == Transpose::yes, b_lies = transpose_b == Transpose::yes;
  const blasint m = blasint(shape.m), n = blasint(shape.n), k = blasint(shape.k);
  simt::enqueue(stream, [=, alpha = epilogue.alpha, beta = epilogue.beta] {
    cblas_sgemm(CblasRowMajor, a_lies ? CblasTrans : CblasNoTrans, b_lies ? CblasTrans : CblasNoTrans, m, n, k, alpha,
                a, std::max<blasint>(1, a_lies ? m : k), b, std::max<blasint>(1, b_lies ? k : n), beta, c, n);
  });
  gemm_epilogue(shape, epilogue, c, stream);
}

index_t gemm_workspace_floats(const GemmShape&) { return 0; }

std::string_view blas_name() { return "OpenBLAS"; }

}  // namespace espalier::kernels::vendor
