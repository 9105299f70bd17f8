// One team per row: each teacher's maximum and sum stay in registers, so that its probabilities are remade, not stored.
// Cost in distillation.h.
#include "kernels/distillation.h"

#include <cmath>

#include "kernels/loss_rows.h"
#include "kernels/require.h"

namespace espalier::kernels {
namespace {

// softmax(x / T) of one row as exp((x - most) * coolness) * scale.
struct Softened {
  const float* x;
  float most, scale;
  __device__ float operator()(index_t i, float coolness) const { return exponential((x[i] - most) * coolness) * scale; }
};

template <int kThreads>
__device__ float softened_sum(const float* x, index_t columns, float most, float coolness) {
  return Team<kThreads>::sum(0, columns, [=](index_t i) { return exponential((x[i] - most) * coolness); });
}

// The mean of the teachers' probabilities. Constant indices keep them in registers.
struct Opinion {
  Softened teacher[Teachers::kMost];
  int count;
  float coolness;

  template <int kThreads>
  __device__ static Opinion of(const Teachers& teachers, const Row<kThreads>& row, float coolness) {
    Opinion opinion;
    opinion.count = teachers.count;
    opinion.coolness = coolness;
    const bool elsewhere = teachers.rows != nullptr && row.exists;
    const index_t begin = elsewhere ? index_t(teachers.rows[row.index]) * row.columns : row.begin;
#pragma unroll
    for (int k = 0; k < Teachers::kMost; ++k) {
      if (k >= teachers.count) continue;  // the same for all threads
      const float* const z = teachers.logits[k] + begin;
      const float most = row_maximum<kThreads>(z, row.columns);
      const float sum = softened_sum<kThreads>(z, row.columns, most, coolness);
      opinion.teacher[k] = {z, most, 1.0f / (sum * float(teachers.count))};
    }
    return opinion;
  }

  __device__ float operator()(index_t i) const {
    float probability = 0.0f;
#pragma unroll
    for (int k = 0; k < Teachers::kMost; ++k) {
      if (k < count) probability += teacher[k](i, coolness);
    }
    return probability;
  }
};

struct DistillationOutputs {
  float* dlogits;                 // null: not wanted
  unsigned long long* confusion;  // null: not wanted
};

template <int kThreads>
__device__ void distillation_of_row(const MatrixShape& shape, const DistillationShare& share, const Teachers& teachers,
                                    const float* logits, const std::int32_t* labels, const DistillationOutputs& out,
                                    float* losses) {
  using Rows = Team<kThreads>;
  const Row<kThreads> row(shape);
  const float* const x = logits + row.begin;
  const index_t given = row.exists ? index_t(labels[row.index]) : 0;
  const bool valid = given >= 0 && given < shape.columns;
  const index_t label = valid && row.exists ? given : 0;
  const float coolness = 1.0f / share.temperature, on_label = 1.0f - share.weight;
  const float most = row_maximum<kThreads>(x, row.columns), sum = sum_of_exponentials<kThreads>(x, row.columns, most);
  const float soft_sum = softened_sum<kThreads>(x, row.columns, most, coolness), log_soft_sum = logf(soft_sum);
  const Opinion opinion = Opinion::of<kThreads>(teachers, row, coolness);
  const Softened sharp{x, most, 1.0f / sum}, soft{x, most, 1.0f / soft_sum};
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const float scale = valid ? 1.0f / float(shape.rows) : kNan;
  float* const dx = out.dlogits == nullptr ? nullptr : out.dlogits + row.begin;
  const float pull = share.weight * share.temperature;  // T^2 / T
  const float divergence = Rows::sum(0, row.columns, [&](index_t i) {
    const float p = opinion(i);
    if (dx != nullptr) dx[i] = (on_label * sharp(i, 1.0f) + pull * (soft(i, coolness) - p)) * scale;
    return p > 0.0f ? p * (logf(p) - (x[i] - most) * coolness + log_soft_sum) : 0.0f;
  });
  if (row.exists && Rows::leads()) {
    const float of_label = logf(sum) - (x[label] - most);
    const float loss = on_label * of_label + pull * share.temperature * divergence;
    losses[row.index] = valid ? loss : kNan;
  }
  if (dx != nullptr && row.exists && label % kThreads == Rows::lane()) dx[label] -= on_label * scale;
  if (out.confusion != nullptr) count_prediction<kThreads>(row, x, most, {label, valid}, shape.columns, out.confusion);
}

template <int kThreads>
__global__ void distillation_loss_kernel(MatrixShape shape, DistillationShare share, Teachers teachers,
                                         const float* __restrict__ logits, const std::int32_t* __restrict__ labels,
                                         DistillationOutputs out, LossSums sums, unsigned* arrivals) {
  distillation_of_row<kThreads>(shape, share, teachers, logits, labels, out, sums.losses);
  add_up_losses_in_last_block<kThreads>(shape.rows, sums, arrivals);
}

}  // namespace

void distillation_loss(const MatrixShape& shape, const DistillationShare& share, const Teachers& teachers,
                       const float* logits, const std::int32_t* labels, const SoftmaxCrossEntropyOutputs& outputs,
                       void* workspace, cudaStream_t stream, unsigned* arrivals, RowTeam team) {
  constexpr index_t kMost = std::numeric_limits<std::int32_t>::max();
  require(shape.rows >= 1 && shape.columns >= 1 && shape.rows <= kMost && shape.columns <= kMost,
          "distillation_loss: logits [", shape.rows, ", ", shape.columns, "]; each side must be in [1, 2^31 - 1]");
  require(teachers.count >= 1 && teachers.count <= Teachers::kMost, "distillation_loss: ", teachers.count,
          " teachers; there may be 1 to ", Teachers::kMost);
  require(share.temperature > 0.0f && std::isfinite(share.temperature), "distillation_loss: the temperature is ",
          share.temperature, "; it must be above 0");
  require(share.weight >= 0.0f && share.weight <= 1.0f, "distillation_loss: the teachers' weight is ", share.weight,
          "; it must be in [0, 1]");
  const DistillationOutputs out{outputs.dlogits, reinterpret_cast<unsigned long long*>(outputs.confusion)};
  const LossSums sums{static_cast<float*>(workspace), outputs.loss, outputs.loss_sum};
  with_row_team(shape.columns, team, [&]<int kThreads>() {
    simt::launch(distillation_loss_kernel<kThreads>, team_per_row<kThreads>(shape.rows, stream), shape, share, teachers,
                 logits, labels, out, sums, arrivals);
  });
  if (arrivals == nullptr) add_up_losses(shape.rows, sums, stream);
}

}  // namespace espalier::kernels
