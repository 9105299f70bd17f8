// The stand-in for cuSPARSE in the cpu build: one thread, plain loops along the samples, which the compiler vectorises.
#include "kernels/gemm.h"
#include "kernels/vendor/sparse.h"

namespace espalier::kernels::vendor {

struct CsrProduct::State {
  CsrView weight;
  index_t batch = 0;
  float* samples = nullptr;  // [columns, batch], then [batch] sums

  void multiply(const float* x, float* y) const {
    float* sums = samples + weight.columns * batch;
    for (index_t b = 0; b < batch; ++b) {
      for (index_t c = 0; c < weight.columns; ++c) samples[c * batch + b] = x[b * weight.columns + c];
    }
    for (index_t row = 0; row < weight.rows; ++row) {
      for (index_t b = 0; b < batch; ++b) sums[b] = 0.0f;
      for (index_t i = weight.row_offsets[row]; i < weight.row_offsets[row + 1]; ++i) {
        const float* from = samples + weight.column_indices[i] * batch;
        const float value = weight.values[i];
        for (index_t b = 0; b < batch; ++b) sums[b] += value * from[b];
      }
      for (index_t b = 0; b < batch; ++b) y[b * weight.rows + row] = sums[b];
    }
  }
};

CsrProduct::CsrProduct(const CsrView& weight, index_t batch)
    : state_(std::make_unique<State>(State{weight, batch, nullptr})) {}
CsrProduct::~CsrProduct() = default;
CsrProduct::CsrProduct(CsrProduct&&) noexcept = default;
CsrProduct& CsrProduct::operator=(CsrProduct&&) noexcept = default;

index_t CsrProduct::workspace_floats() const { return (state_->weight.columns + 1) * state_->batch; }

void CsrProduct::prepare(float* workspace, cudaStream_t) { state_->samples = workspace; }

void CsrProduct::operator()(const float* x, const BiasActivation& epilogue, float* y, cudaStream_t stream) const {
  const State state = *state_;
  simt::enqueue(stream, [=] { state.multiply(x, y); });
  gemm_epilogue({.m = state.batch, .n = state.weight.rows, .k = 0},
                {.bias = epilogue.bias, .activation = epilogue.activation, .leaky_slope = epilogue.slope}, y, stream);
}

std::string_view sparse_name() { return "plain loops"; }
std::string sparse_version() { return ""; }

}  // namespace espalier::kernels::vendor
