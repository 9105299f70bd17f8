// Softmax, log-softmax and softmax cross-entropy: one team per row; algorithm and cost in softmax.h.
#include "kernels/softmax.h"

#include <limits>

#include "kernels/loss_rows.h"
#include "kernels/require.h"

namespace espalier::kernels {
namespace {

template <int kThreads>
__global__ void softmax_forward_kernel(MatrixShape shape, const float* __restrict__ logits,
                                       float* __restrict__ output) {
  const Row<kThreads> row(shape);
  const float* x = logits + row.begin;
  float* y = output + row.begin;
  const float most = row_maximum<kThreads>(x, row.columns);
  const float sum = sum_of_exponentials<kThreads>(x, row.columns, most);
  const float scale = 1.0f / sum;
  Team<kThreads>::for_each(0, row.columns, [&](index_t i) { y[i] = exponential(x[i] - most) * scale; });
}

template <int kThreads>
__global__ void softmax_backward_kernel(MatrixShape shape, const float* __restrict__ output,
                                        const float* __restrict__ output_gradient, float* __restrict__ gradient) {
  const Row<kThreads> row(shape);
  const float *y = output + row.begin, *dy = output_gradient + row.begin;
  float* dx = gradient + row.begin;
  const float product = Team<kThreads>::sum(0, row.columns, [&](index_t i) { return dy[i] * y[i]; });
  Team<kThreads>::for_each(0, row.columns, [&](index_t i) { dx[i] = y[i] * (dy[i] - product); });
}

template <int kThreads>
__global__ void log_softmax_forward_kernel(MatrixShape shape, const float* __restrict__ logits,
                                           float* __restrict__ output) {
  const Row<kThreads> row(shape);
  const float* x = logits + row.begin;
  float* y = output + row.begin;
  const float most = row_maximum<kThreads>(x, row.columns);
  const float log_sum = logf(sum_of_exponentials<kThreads>(x, row.columns, most));
  Team<kThreads>::for_each(0, row.columns, [&](index_t i) { y[i] = x[i] - most - log_sum; });
}

template <int kThreads>
__global__ void log_softmax_backward_kernel(MatrixShape shape, const float* __restrict__ output,
                                            const float* __restrict__ output_gradient, float* __restrict__ gradient) {
  const Row<kThreads> row(shape);
  const float *y = output + row.begin, *dy = output_gradient + row.begin;
  float* dx = gradient + row.begin;
  const float sum = Team<kThreads>::sum(0, row.columns, [&](index_t i) { return dy[i]; });
  Team<kThreads>::for_each(0, row.columns, [&](index_t i) { dx[i] = dy[i] - exponential(y[i]) * sum; });
}

struct CrossEntropyGradient {
  float* dlogits;                 // null: not wanted
  unsigned long long* confusion;  // null: not wanted
};

template <int kThreads, class Label>
__device__ void cross_entropy_of_row(const MatrixShape& shape, float smoothing, const float* logits,
                                     const Label* labels, const CrossEntropyGradient& out, float* losses) {
  using Rows = Team<kThreads>;
  const Row<kThreads> row(shape);
  const float* x = logits + row.begin;
  const index_t given = row.exists ? index_t(labels[row.index]) : 0;
  const bool valid = given >= 0 && given < shape.columns;
  const index_t label = valid && row.exists ? given : 0;
  const float most = row_maximum<kThreads>(x, row.columns), sum = sum_of_exponentials<kThreads>(x, row.columns, most);
  const int columns = int(row.columns);
  const float shifted = smoothing == 0.0f ? 0.0f : Rows::sum(0, columns, [&](index_t i) { return x[i] - most; });
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const float on_label = 1.0f - smoothing, on_each = smoothing / float(shape.columns);
  if (row.exists && Rows::leads()) {
    const float loss = logf(sum) - on_label * (x[label] - most) - on_each * shifted;
    losses[row.index] = valid ? loss : kNan;
  }
  if (out.confusion != nullptr) count_prediction<kThreads>(row, x, most, {label, valid}, shape.columns, out.confusion);
  if (out.dlogits == nullptr || !row.exists) return;
  float* dx = out.dlogits + row.begin;
  const float probability = 1.0f / sum, scale = valid ? 1.0f / float(shape.rows) : kNan;
  Rows::for_each(0, columns, [&](index_t i) { dx[i] = (exponential(x[i] - most) * probability - on_each) * scale; });
  if (label % kThreads == Rows::lane()) {  // outside the loop, which stays free of branches
    dx[label] = (exponential(x[label] - most) * probability - on_each - on_label) * scale;
  }
}

template <int kThreads, class Label>
__global__ void softmax_cross_entropy_kernel(MatrixShape shape, float smoothing, const float* __restrict__ logits,
                                             const Label* __restrict__ labels, CrossEntropyGradient out, LossSums sums,
                                             unsigned* arrivals) {
  cross_entropy_of_row<kThreads>(shape, smoothing, logits, labels, out, sums.losses);
  add_up_losses_in_last_block<kThreads>(shape.rows, sums, arrivals);
}

template <class Label>
void launch_cross_entropy(const MatrixShape& shape, float smoothing, const float* logits, const Label* labels,
                          const SoftmaxCrossEntropyOutputs& outputs, void* workspace, cudaStream_t stream,
                          unsigned* arrivals, RowTeam team) {
  require(shape.rows >= 1 && shape.columns >= 1, "softmax_cross_entropy: logits [", shape.rows, ", ", shape.columns,
          "]; a mean loss needs at least one row and one class");
  require(shape.rows <= std::numeric_limits<std::int32_t>::max() &&
              shape.columns <= std::numeric_limits<std::int32_t>::max(),
          "softmax_cross_entropy: logits [", shape.rows, ", ", shape.columns, "] exceed 2^31 - 1; split the batch");
  require(smoothing >= 0.0f && smoothing <= 1.0f, "softmax_cross_entropy: label smoothing ", smoothing,
          " is not in [0, 1]");
  const CrossEntropyGradient out{outputs.dlogits, reinterpret_cast<unsigned long long*>(outputs.confusion)};
  const LossSums sums{static_cast<float*>(workspace), outputs.loss, outputs.loss_sum};
  with_row_team(shape.columns, team, [&]<int kThreads>() {
    simt::launch(softmax_cross_entropy_kernel<kThreads, Label>, team_per_row<kThreads>(shape.rows, stream), shape,
                 smoothing, logits, labels, out, sums, arrivals);
  });
  if (arrivals != nullptr) return;
  add_up_losses(shape.rows, sums, stream);
}

}  // namespace

void softmax_forward(const MatrixShape& shape, const float* x, float* y, cudaStream_t stream, RowTeam team) {
  if (shape.size() == 0) return;
  with_row_team(shape.columns, team, [&]<int kThreads>() {
    simt::launch(softmax_forward_kernel<kThreads>, team_per_row<kThreads>(shape.rows, stream), shape, x, y);
  });
}

void softmax_backward(const MatrixShape& shape, const float* y, const float* dy, float* dx, cudaStream_t stream,
                      RowTeam team) {
  if (shape.size() == 0) return;
  with_row_team(shape.columns, team, [&]<int kThreads>() {
    simt::launch(softmax_backward_kernel<kThreads>, team_per_row<kThreads>(shape.rows, stream), shape, y, dy, dx);
  });
}

void log_softmax_forward(const MatrixShape& shape, const float* x, float* y, cudaStream_t stream, RowTeam team) {
  if (shape.size() == 0) return;
  with_row_team(shape.columns, team, [&]<int kThreads>() {
    simt::launch(log_softmax_forward_kernel<kThreads>, team_per_row<kThreads>(shape.rows, stream), shape, x, y);
  });
}

void log_softmax_backward(const MatrixShape& shape, const float* y, const float* dy, float* dx, cudaStream_t stream,
                          RowTeam team) {
  if (shape.size() == 0) return;
  with_row_team(shape.columns, team, [&]<int kThreads>() {
    simt::launch(log_softmax_backward_kernel<kThreads>, team_per_row<kThreads>(shape.rows, stream), shape, y, dy, dx);
  });
}

std::size_t softmax_cross_entropy_workspace_bytes(const MatrixShape& shape) {
  return std::size_t(shape.rows) * sizeof(float);
}

void softmax_cross_entropy(const MatrixShape& shape, float label_smoothing, const float* logits,
                           const std::uint8_t* labels, const SoftmaxCrossEntropyOutputs& outputs, void* workspace,
                           cudaStream_t stream, unsigned* arrivals, RowTeam team) {
  launch_cross_entropy(shape, label_smoothing, logits, labels, outputs, workspace, stream, arrivals, team);
}

void softmax_cross_entropy(const MatrixShape& shape, float label_smoothing, const float* logits,
                           const std::int32_t* labels, const SoftmaxCrossEntropyOutputs& outputs, void* workspace,
                           cudaStream_t stream, unsigned* arrivals, RowTeam team) {
  launch_cross_entropy(shape, label_smoothing, logits, labels, outputs, workspace, stream, arrivals, team);
}

}  // namespace espalier::kernels
