// cuBLAS. Row-major C = A B is column-major C^T = B^T A^T: the operands change places, nothing is moved.
#include <cublas_v2.h>

#include <algorithm>
#include <limits>
#include <string>

#include "kernels/require.h"
#include "kernels/vendor/blas.h"

namespace espalier::kernels::vendor {
namespace {

void check(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw simt::LaunchError(std::string(call) + ": " + cublasGetStatusString(status));
}

// One handle for each host thread, made for the device that is current at its first product.
class Handle {
 public:
  Handle() {
    check(cublasCreate(&handle_), "cublasCreate");
    check(cublasSetMathMode(handle_, CUBLAS_PEDANTIC_MATH), "cublasSetMathMode");
  }
  ~Handle() { cublasDestroy(handle_); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  // Stream first: choosing one gives the handle its default workspace back.
  cublasHandle_t on(cudaStream_t stream, const Workspace& workspace) {
    check(cublasSetStream(handle_, stream), "cublasSetStream");
    if (workspace.data != nullptr && workspace.floats > 0) {
      check(cublasSetWorkspace(handle_, workspace.data, std::size_t(workspace.floats) * sizeof(float)),
            "cublasSetWorkspace");
    }
    return handle_;
  }

 private:
  cublasHandle_t handle_ = nullptr;
};

Handle& thread_handle() {
  thread_local Handle handle;
  return handle;
}

}  // namespace

void gemm(const GemmShape& shape, Transpose transpose_a, Transpose transpose_b, const float* a, const float* b,
          float* c, const GemmEpilogue& epilogue, cudaStream_t stream, Workspace workspace) {
  if (shape.m == 0 || shape.n == 0) return;
  constexpr index_t kMax = std::numeric_limits<int>::max();
  require(shape.m <= kMax && shape.n <= kMax && shape.k <= kMax, "vendor gemm: m ", shape.m, ", n ", shape.n, ", k ",
          shape.k, " exceed cuBLAS's integers; use the handwritten gemm");
  const bool a_lies = transpose_a == Transpose::yes, b_lies = transpose_b == Transpose::yes;
  const int m = int(shape.m), n = int(shape.n), k = int(shape.k);
  check(cublasSgemm(thread_handle().on(stream, workspace), b_lies ? CUBLAS_OP_T : CUBLAS_OP_N,
                    a_lies ? CUBLAS_OP_T : CUBLAS_OP_N, n, m, k, &epilogue.alpha, b, std::max(1, b_lies ? k : n), a,
                    std::max(1, a_lies ? m : k), &epilogue.beta, c, n),
        "cublasSgemm");
  gemm_epilogue(shape, epilogue, c, stream);
}

// 8 MiB: enough for cuBLAS's own split-k of the layers at hand; it takes slower kernels where it wants more.
index_t gemm_workspace_floats(const GemmShape&) { return 2 * 1024 * 1024; }

std::string_view blas_name() { return "cuBLAS"; }

std::string blas_version() {
  std::string version;
  for (const libraryPropertyType part : {MAJOR_VERSION, MINOR_VERSION, PATCH_LEVEL}) {
    int number = 0;
    check(cublasGetProperty(part, &number), "cublasGetProperty");
    version += (version.empty() ? "" : ".") + std::to_string(number);
  }
  return version;
}

}  // namespace espalier::kernels::vendor
