// The vendor's sparse product behind our signature: cuSPARSE in the cuda build, plain loops in the cpu build (no such
// library is everywhere), chosen when linking. y [batch, rows] = activation(x [batch, columns] * W^T + bias), W in CSR,
// in blocks (BSR) or in Blocked-ELL, full fp32. An object, because cuSPARSE wants its descriptors and its analysis of
// the weight made once.
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "kernels/simt/simt.h"
#include "kernels/sparse/bias_activation.h"
#include "kernels/sparse/formats.h"

namespace espalier::kernels::vendor {

class SparseProduct {
 public:
  // The weight's memory must outlive the product. Blocks may not stick out of the matrix: see takes().
  SparseProduct(const CsrView& weight, index_t batch);
  SparseProduct(const BlockCsrView& weight, index_t batch);
  SparseProduct(const BlockedEllView& weight, index_t batch);
  ~SparseProduct();
  SparseProduct(SparseProduct&&) noexcept;
  SparseProduct& operator=(SparseProduct&&) noexcept;

  static constexpr bool takes(const BlockCsrView& weight) {
    return weight.rows % weight.block_rows == 0 && weight.columns % weight.block_columns == 0;
  }

  index_t workspace_floats() const;
  // Analyses the weight, on `stream`. The workspace, 16-byte aligned, belongs to the product from now on.
  void prepare(float* workspace, cudaStream_t stream);
  // After prepare(). Bias and activation are our own pass over y.
  void operator()(const float* x, const BiasActivation& epilogue, float* y, cudaStream_t stream) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

using CsrProduct = SparseProduct;

// The vendor's sampled product beside kernels::csr_sddmm(): dw [kept] = dy^T x at the kept places alone, in the order
// of the weight's CSR; dy [batch, rows], x [batch, columns], both as they are.
class SampledProduct {
 public:
  // The memory of the places must outlive the product.
  SampledProduct(const KeptView& weight, index_t batch);
  ~SampledProduct();
  SampledProduct(SampledProduct&&) noexcept;
  SampledProduct& operator=(SampledProduct&&) noexcept;

  // As those of SparseProduct.
  index_t workspace_floats() const;
  void prepare(float* workspace, cudaStream_t stream);
  void operator()(const float* dy, const float* x, float* dw, cudaStream_t stream) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string_view sparse_name();
std::string sparse_version();  // empty: it has none of its own

}  // namespace espalier::kernels::vendor
