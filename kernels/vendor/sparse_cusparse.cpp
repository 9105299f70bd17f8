// cuSPARSE SpMM and SDDMM. Row-major x and y are the column-major x^T and y^T, so y^T = W x^T needs no transposition at
// all.
#include <cusparse.h>

#include <string>

#include "kernels/gemm.h"
#include "kernels/require.h"
#include "kernels/vendor/sparse.h"

namespace espalier::kernels::vendor {
namespace {

constexpr cusparseSpMMAlg_t kAlgorithm = CUSPARSE_SPMM_ALG_DEFAULT;  // deterministic; one for each format
constexpr cusparseOperation_t kAsIs = CUSPARSE_OPERATION_NON_TRANSPOSE;
constexpr cusparseOperation_t kTransposed = CUSPARSE_OPERATION_TRANSPOSE;
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

struct SparseProduct::State {
  State(index_t weight_rows, index_t weight_columns, index_t samples)
      : rows(weight_rows), columns(weight_columns), batch(samples) {}
  ~State() {
    if (w != nullptr) cusparseDestroySpMat(w);
    if (x != nullptr) cusparseDestroyDnMat(x);
    if (y != nullptr) cusparseDestroyDnMat(y);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  // The weight is described; `values` are any valid address until x and y come with a call.
  void describe(const float* values) {
    void* address = const_cast<float*>(values);
    check(cusparseCreateDnMat(&x, columns, batch, columns, address, CUDA_R_32F, CUSPARSE_ORDER_COL),
          "cusparseCreateDnMat");
    check(cusparseCreateDnMat(&y, rows, batch, rows, address, CUDA_R_32F, CUSPARSE_ORDER_COL), "cusparseCreateDnMat");
    check(cusparseSpMM_bufferSize(handle_on(nullptr), kAsIs, kAsIs, &kOne, w, x, &kZero, y, CUDA_R_32F, kAlgorithm,
                                  &buffer_bytes),
          "cusparseSpMM_bufferSize");
  }

  index_t rows, columns, batch;
  cusparseConstSpMatDescr_t w = nullptr;  // null: no values, which cuSPARSE refuses
  cusparseDnMatDescr_t x = nullptr, y = nullptr;
  std::size_t buffer_bytes = 0;
  void* buffer = nullptr;
};

SparseProduct::SparseProduct(const CsrView& weight, index_t batch)
    : state_(std::make_unique<State>(weight.rows, weight.columns, batch)) {
  if (weight.nonzeros == 0) return;
  check(cusparseCreateConstCsr(&state_->w, weight.rows, weight.columns, weight.nonzeros, weight.row_offsets,
                               weight.column_indices, weight.values, CUSPARSE_INDEX_32I, CUSPARSE_INDEX_32I,
                               CUSPARSE_INDEX_BASE_ZERO, CUDA_R_32F),
        "cusparseCreateConstCsr");
  state_->describe(weight.values);
}

SparseProduct::SparseProduct(const BlockCsrView& weight, index_t batch)
    : state_(std::make_unique<State>(weight.rows, weight.columns, batch)) {
  require(takes(weight), "SparseProduct: blocks of ", weight.block_rows, " x ", weight.block_columns,
          " stick out of a weight of ", weight.rows, " x ", weight.columns);
  if (weight.blocks == 0) return;
  check(cusparseCreateConstBsr(&state_->w, weight.block_grid_rows(), weight.block_grid_columns(), weight.blocks,
                               weight.block_rows, weight.block_columns, weight.row_offsets, weight.column_indices,
                               weight.values, CUSPARSE_INDEX_32I, CUSPARSE_INDEX_32I, CUSPARSE_INDEX_BASE_ZERO,
                               CUDA_R_32F, CUSPARSE_ORDER_ROW),
        "cusparseCreateConstBsr");
  state_->describe(weight.values);
}

SparseProduct::SparseProduct(const BlockedEllView& weight, index_t batch)
    : state_(std::make_unique<State>(weight.rows, weight.columns, batch)) {
  if (weight.places == 0) return;
  check(cusparseCreateConstBlockedEll(&state_->w, weight.rows, weight.columns, weight.block,
                                      weight.places * weight.block, weight.column_indices, weight.values,
                                      CUSPARSE_INDEX_32I, CUSPARSE_INDEX_BASE_ZERO, CUDA_R_32F),
        "cusparseCreateConstBlockedEll");
  state_->describe(weight.values);
}

SparseProduct::~SparseProduct() = default;
SparseProduct::SparseProduct(SparseProduct&&) noexcept = default;
SparseProduct& SparseProduct::operator=(SparseProduct&&) noexcept = default;

index_t SparseProduct::workspace_floats() const {
  return index_t((state_->buffer_bytes + sizeof(float) - 1) / sizeof(float));
}

void SparseProduct::prepare(float* workspace, cudaStream_t stream) {
  State& s = *state_;
  s.buffer = workspace;
  if (s.w == nullptr) return;
  check(cusparseSpMM_preprocess(handle_on(stream), kAsIs, kAsIs, &kOne, s.w, s.x, &kZero, s.y, CUDA_R_32F, kAlgorithm,
                                s.buffer),
        "cusparseSpMM_preprocess");
}

void SparseProduct::operator()(const float* x, const BiasActivation& epilogue, float* y, cudaStream_t stream) const {
  const State& s = *state_;
  if (s.w == nullptr) {
    const cudaError_t status = cudaMemsetAsync(y, 0, sizeof(float) * std::size_t(s.batch * s.rows), stream);
    if (status != cudaSuccess) throw simt::LaunchError(std::string("SparseProduct: ") + cudaGetErrorString(status));
  } else {
    check(cusparseDnMatSetValues(s.x, const_cast<float*>(x)), "cusparseDnMatSetValues");  // only ever read
    check(cusparseDnMatSetValues(s.y, y), "cusparseDnMatSetValues");
    check(cusparseSpMM(handle_on(stream), kAsIs, kAsIs, &kOne, s.w, s.x, &kZero, s.y, CUDA_R_32F, kAlgorithm, s.buffer),
          "cusparseSpMM");
  }
  gemm_epilogue({.m = s.batch, .n = s.rows, .k = 0},
                {.bias = epilogue.bias, .activation = epilogue.activation, .leaky_slope = epilogue.slope}, y, stream);
}

// Column-major, dy is dy^T [rows, batch] as it lies and x is x^T [columns, batch], to be transposed.
struct SampledProduct::State {
  ~State() {
    if (dw != nullptr) cusparseDestroySpMat(dw);
    if (dy != nullptr) cusparseDestroyDnMat(dy);
    if (x != nullptr) cusparseDestroyDnMat(x);
  }
  cusparseSpMatDescr_t dw = nullptr;
  cusparseDnMatDescr_t dy = nullptr, x = nullptr;
  std::size_t buffer_bytes = 0;
  void* buffer = nullptr;
};

SampledProduct::SampledProduct(const KeptView& weight, index_t batch) : state_(std::make_unique<State>()) {
  require(weight.kept > 0 && batch > 0, "SampledProduct: ", weight.kept, " kept weights, batch ", batch,
          "; both must be at least 1");
  State& s = *state_;
  void* const address = const_cast<std::int32_t*>(weight.row_offsets);  // of values until a call brings its own
  check(cusparseCreateCsr(&s.dw, weight.rows, weight.columns, weight.kept, address,
                          const_cast<std::int32_t*>(weight.column_indices), address, CUSPARSE_INDEX_32I,
                          CUSPARSE_INDEX_32I, CUSPARSE_INDEX_BASE_ZERO, CUDA_R_32F),
        "cusparseCreateCsr");
  check(cusparseCreateDnMat(&s.dy, weight.rows, batch, weight.rows, address, CUDA_R_32F, CUSPARSE_ORDER_COL),
        "cusparseCreateDnMat");
  check(cusparseCreateDnMat(&s.x, weight.columns, batch, weight.columns, address, CUDA_R_32F, CUSPARSE_ORDER_COL),
        "cusparseCreateDnMat");
  check(cusparseSDDMM_bufferSize(handle_on(nullptr), kAsIs, kTransposed, &kOne, s.dy, s.x, &kZero, s.dw, CUDA_R_32F,
                                 CUSPARSE_SDDMM_ALG_DEFAULT, &s.buffer_bytes),
        "cusparseSDDMM_bufferSize");
}

SampledProduct::~SampledProduct() = default;
SampledProduct::SampledProduct(SampledProduct&&) noexcept = default;
SampledProduct& SampledProduct::operator=(SampledProduct&&) noexcept = default;

index_t SampledProduct::workspace_floats() const {
  return index_t((state_->buffer_bytes + sizeof(float) - 1) / sizeof(float));
}

void SampledProduct::prepare(float* workspace, cudaStream_t stream) {
  State& s = *state_;
  s.buffer = workspace;
  check(cusparseSDDMM_preprocess(handle_on(stream), kAsIs, kTransposed, &kOne, s.dy, s.x, &kZero, s.dw, CUDA_R_32F,
                                 CUSPARSE_SDDMM_ALG_DEFAULT, s.buffer),
        "cusparseSDDMM_preprocess");
}

void SampledProduct::operator()(const float* dy, const float* x, float* dw, cudaStream_t stream) const {
  const State& s = *state_;
  check(cusparseDnMatSetValues(s.dy, const_cast<float*>(dy)), "cusparseDnMatSetValues");  // only ever read, and x
  check(cusparseDnMatSetValues(s.x, const_cast<float*>(x)), "cusparseDnMatSetValues");
  check(cusparseSpMatSetValues(s.dw, dw), "cusparseSpMatSetValues");
  check(cusparseSDDMM(handle_on(stream), kAsIs, kTransposed, &kOne, s.dy, s.x, &kZero, s.dw, CUDA_R_32F,
                      CUSPARSE_SDDMM_ALG_DEFAULT, s.buffer),
        "cusparseSDDMM");
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
