// The stand-in for cuSPARSE in the cpu build: one thread, plain loops along the samples, which the compiler vectorises.
#include <variant>

#include "kernels/gemm.h"
#include "kernels/require.h"
#include "kernels/vendor/sparse.h"

namespace espalier::kernels::vendor {

namespace {

// visit(row, column, value) for what the weight stores, row by row.
template <class Visit>
void visit_row(const CsrView& weight, index_t row, Visit visit) {
  for (index_t i = weight.row_offsets[row]; i < weight.row_offsets[row + 1]; ++i) {
    visit(weight.column_indices[i], weight.values[i]);
  }
}

template <class Visit>
void visit_row(const BlockCsrView& weight, index_t row, Visit visit) {
  const index_t group = row / weight.block_rows;
  for (index_t i = weight.row_offsets[group]; i < weight.row_offsets[group + 1]; ++i) {
    const float* values = weight.values + (i * weight.block_rows + row % weight.block_rows) * weight.block_columns;
    for (index_t c = 0; c < weight.block_columns; ++c) {
      visit(weight.column_indices[i] * weight.block_columns + c, values[c]);
    }
  }
}

template <class Visit>
void visit_row(const BlockedEllView& weight, index_t row, Visit visit) {
  for (index_t place = 0; place < weight.places; ++place) {
    const index_t column = weight.column_indices[row / weight.block * weight.places + place];
    if (column < 0) continue;
    const float* values = weight.values + (row * weight.places + place) * weight.block;
    for (index_t c = 0; c < weight.block; ++c) visit(column * weight.block + c, values[c]);
  }
}

}  // namespace

struct SparseProduct::State {
  std::variant<CsrView, BlockCsrView, BlockedEllView> weight;
  index_t rows = 0, columns = 0, batch = 0;
  float* samples = nullptr;  // [columns, batch], then [batch] sums

  void multiply(const float* x, float* y) const {
    float* sums = samples + columns * batch;
    for (index_t b = 0; b < batch; ++b) {
      for (index_t c = 0; c < columns; ++c) samples[c * batch + b] = x[b * columns + c];
    }
    for (index_t row = 0; row < rows; ++row) {
      for (index_t b = 0; b < batch; ++b) sums[b] = 0.0f;
      const auto add = [&](index_t column, float value) {
        const float* from = samples + column * batch;
        for (index_t b = 0; b < batch; ++b) sums[b] += value * from[b];
      };
      std::visit([&](const auto& view) { visit_row(view, row, add); }, weight);
      for (index_t b = 0; b < batch; ++b) y[b * rows + row] = sums[b];
    }
  }
};

SparseProduct::SparseProduct(const CsrView& weight, index_t batch)
    : state_(std::make_unique<State>(State{weight, weight.rows, weight.columns, batch})) {}
SparseProduct::SparseProduct(const BlockCsrView& weight, index_t batch)
    : state_(std::make_unique<State>(State{weight, weight.rows, weight.columns, batch})) {
  require(takes(weight), "SparseProduct: blocks of ", weight.block_rows, " x ", weight.block_columns,
          " stick out of a weight of ", weight.rows, " x ", weight.columns);
}
SparseProduct::SparseProduct(const BlockedEllView& weight, index_t batch)
    : state_(std::make_unique<State>(State{weight, weight.rows, weight.columns, batch})) {}
SparseProduct::~SparseProduct() = default;
SparseProduct::SparseProduct(SparseProduct&&) noexcept = default;
SparseProduct& SparseProduct::operator=(SparseProduct&&) noexcept = default;

index_t SparseProduct::workspace_floats() const { return (state_->columns + 1) * state_->batch; }

void SparseProduct::prepare(float* workspace, cudaStream_t) { state_->samples = workspace; }

void SparseProduct::operator()(const float* x, const BiasActivation& epilogue, float* y, cudaStream_t stream) const {
  const State state = *state_;
  simt::enqueue(stream, [=] { state.multiply(x, y); });
  gemm_epilogue({.m = state.batch, .n = state.rows, .k = 0},
                {.bias = epilogue.bias, .activation = epilogue.activation, .leaky_slope = epilogue.slope}, y, stream);
}

struct SampledProduct::State {
  KeptView weight;
  index_t batch = 0;
  float* samples = nullptr;  // [rows + columns, batch]

  void multiply(const float* dy, const float* x, float* dw) const {
    float* const of_x = samples + weight.rows * batch;
    for (index_t b = 0; b < batch; ++b) {
      for (index_t r = 0; r < weight.rows; ++r) samples[r * batch + b] = dy[b * weight.rows + r];
      for (index_t c = 0; c < weight.columns; ++c) of_x[c * batch + b] = x[b * weight.columns + c];
    }
    for (index_t row = 0; row < weight.rows; ++row) {
      for (index_t i = weight.row_offsets[row]; i < weight.row_offsets[row + 1]; ++i) {
        const float *mine = samples + row * batch, *theirs = of_x + weight.column_indices[i] * batch;
        dw[i] = 0.0f;
        for (index_t b = 0; b < batch; ++b) dw[i] += mine[b] * theirs[b];
      }
    }
  }
};

SampledProduct::SampledProduct(const KeptView& weight, index_t batch)
    : state_(std::make_unique<State>(State{weight, batch})) {
  require(weight.kept > 0 && batch > 0, "SampledProduct: ", weight.kept, " kept weights, batch ", batch,
          "; both must be at least 1");
}
SampledProduct::~SampledProduct() = default;
SampledProduct::SampledProduct(SampledProduct&&) noexcept = default;
SampledProduct& SampledProduct::operator=(SampledProduct&&) noexcept = default;

index_t SampledProduct::workspace_floats() const {
  return (state_->weight.rows + state_->weight.columns) * state_->batch;
}

void SampledProduct::prepare(float* workspace, cudaStream_t) { state_->samples = workspace; }

void SampledProduct::operator()(const float* dy, const float* x, float* dw, cudaStream_t stream) const {
  const State state = *state_;
  simt::enqueue(stream, [=] { state.multiply(dy, x, dw); });
}

std::string_view sparse_name() { return "plain loops"; }
std::string sparse_version() { return ""; }

}  // namespace espalier::kernels::vendor
