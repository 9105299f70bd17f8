// cuSPARSE SpMM. Row-major x and y are the column-major x^T and y^T, so y^T = W x^T needs no transposition at all.
#include <cusparse.h>

#include <string>

#include "kernels/gemm.h"
#include "kernels/require.h"
#include "kernels/vendor/sparse.h"

namespace espalier::kernels::vendor {
namespace {

constexpr cusparseSpMMAlg_t kAlgorithm = CUSPARSE_SPMM_ALG_DEFAULT;  // deterministic for CSR
constexpr cusparseOperation_t kAsIs = CUSPARSE_OPERATION_NON_TRANSPOSE;
constexpr float kOne = 1.0f, kZero = 0.0f;

void check(cusparseStatus_t status, const char* call) {
  if (status != CUSPARSE_STATUS_SUCCESS) {
    throw simt::LaunchError(std::string(call) + ": " + cusparseGetErrorString(status));
  }
}

// One handle for each host thread, made for the device that is current at its first product.
struct Handle {
  Handle() { check(cusparseCreate(&handle), "cusparseCreate"); }
  ~Handle() { cusparseDestroy(handle); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  cusparseHandle_t handle = nullptr;
};

cusparseHandle_t handle_on(cudaStream_t stream) {
  thread_local Handle thread_handle;
  check(cusparseSetStream(thread_handle.handle, stream), "cusparseSetStream");
  return thread_handle.handle;
}

}  // namespace

struct CsrProduct::State {
  State(const CsrView& csr, index_t samples) : weight(csr), batch(samples) {
    if (weight.nonzeros == 0) return;  // cuSPARSE refuses a matrix without values
    check(cusparseCreateConstCsr(&w, weight.rows, weight.columns, weight.nonzeros, weight.row_offsets,
                                 weight.column_indices, weight.values, CUSPARSE_INDEX_32I, CUSPARSE_INDEX_32I,
                                 CUSPARSE_INDEX_BASE_ZERO, CUDA_R_32F),
          "cusparseCreateConstCsr");
    // Addresses of x and y come with each call; until then any valid one will do.
    void* address = const_cast<float*>(weight.values);
    check(cusparseCreateDnMat(&x, weight.columns, batch, weight.columns, address, CUDA_R_32F, CUSPARSE_ORDER_COL),
          "cusparseCreateDnMat");
    check(cusparseCreateDnMat(&y, weight.rows, batch, weight.rows, address, CUDA_R_32F, CUSPARSE_ORDER_COL),
          "cusparseCreateDnMat");
    check(cusparseSpMM_bufferSize(handle_on(nullptr), kAsIs, kAsIs, &kOne, w, x, &kZero, y, CUDA_R_32F, kAlgorithm,
                                  &buffer_bytes),
          "cusparseSpMM_bufferSize");
  }
  ~State() {
    if (w != nullptr) cusparseDestroySpMat(w);
    if (x != nullptr) cusparseDestroyDnMat(x);
    if (y != nullptr) cusparseDestroyDnMat(y);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  CsrView weight;
  index_t batch;
  cusparseConstSpMatDescr_t w = nullptr;
  cusparseDnMatDescr_t x = nullptr, y = nullptr;
  std::size_t buffer_bytes = 0;
  void* buffer = nullptr;
};

CsrProduct::CsrProduct(const CsrView& weight, index_t batch) : state_(std::make_unique<State>(weight, batch)) {}
CsrProduct::~CsrProduct() = default;
CsrProduct::CsrProduct(CsrProduct&&) noexcept = default;
CsrProduct& CsrProduct::operator=(CsrProduct&&) noexcept = default;

index_t CsrProduct::workspace_floats() const {
  return index_t((state_->buffer_bytes + sizeof(float) - 1) / sizeof(float));
}

void CsrProduct::prepare(float* workspace, cudaStream_t stream) {
  State& s = *state_;
  s.buffer = workspace;
  if (s.w == nullptr) return;
  check(cusparseSpMM_preprocess(handle_on(stream), kAsIs, kAsIs, &kOne, s.w, s.x, &kZero, s.y, CUDA_R_32F, kAlgorithm,
                                s.buffer),
        "cusparseSpMM_preprocess");
}

void CsrProduct::operator()(const float* x, const BiasActivation& epilogue, float* y, cudaStream_t stream) const {
  const State& s = *state_;
  if (s.w == nullptr) {
    const cudaError_t status = cudaMemsetAsync(y, 0, sizeof(float) * std::size_t(s.batch * s.weight.rows), stream);
    if (status != cudaSuccess) throw simt::LaunchError(std::string("CsrProduct: ") + cudaGetErrorString(status));
  } else {
    check(cusparseDnMatSetValues(s.x, const_cast<float*>(x)), "cusparseDnMatSetValues");  // only ever read
    check(cusparseDnMatSetValues(s.y, y), "cusparseDnMatSetValues");
    check(cusparseSpMM(handle_on(stream), kAsIs, kAsIs, &kOne, s.w, s.x, &kZero, s.y, CUDA_R_32F, kAlgorithm, s.buffer),
          "cusparseSpMM");
  }
  gemm_epilogue({.m = s.batch, .n = s.weight.rows, .k = 0},
                {.bias = epilogue.bias, .activation = epilogue.activation, .leaky_slope = epilogue.slope}, y, stream);
}

std::string_view sparse_name() { return "cuSPARSE"; }

std::string sparse_version() {
  std::string version;
  for (const libraryPropertyType part : {MAJOR_VERSION, MINOR_VERSION, PATCH_LEVEL}) {
    int number = 0;
    check(cusparseGetProperty(part, &number), "cusparseGetProperty");
    version += (version.empty() ? "" : ".") + std::to_string(number);
  }
  return version;
}

}  // namespace espalier::kernels::vendor
