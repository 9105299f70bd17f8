// The vendor's sparse product behind our signature: cuSPARSE in the cuda build, plain loops in the cpu build (no such
// library is everywhere), chosen when linking. y [batch, rows] = activation(x [batch, columns] * W^T + bias), W in CSR,
// full fp32. An object, because cuSPARSE wants its descriptors and its analysis of the weight made once.
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "kernels/simt/simt.h"
#include "kernels/sparse/bias_activation.h"
#include "kernels/sparse/formats.h"

namespace espalier::kernels::vendor {

class CsrProduct {
 public:
  // The weight's memory must outlive the product.
  CsrProduct(const CsrView& weight, index_t batch);
  ~CsrProduct();
  CsrProduct(CsrProduct&&) noexcept;
  CsrProduct& operator=(CsrProduct&&) noexcept;

  index_t workspace_floats() const;
  // Analyses the weight, on `stream`. The workspace, 16-byte aligned, belongs to the product from now on.
  void prepare(float* workspace, cudaStream_t stream);
  // After prepare(). Bias and activation are our own pass over y.
  void operator()(const float* x, const BiasActivation& epilogue, float* y, cudaStream_t stream) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string_view sparse_name();
std::string sparse_version();  // empty: it has none of its own

}  // namespace espalier::kernels::vendor
