// Knowledge distillation: cross-entropy with the labels beside the divergence from what teachers think, fused with its
// gradient. Softening both sides by a temperature T > 1 shows which wrong classes a teacher finds likely.
// One team per row and one launch: reads logits, teachers' logits and labels, again from the cache for each maximum,
// sum and term, 4 (1 + teachers) bytes in and 4 out per class, with 2 (2 + teachers) exponentials, which are what it
// costs. Averaging the teachers on the way keeps an ensemble's mean out of memory; what they
// think of all samples may lie in tables, whose rows are read where they are. Hinton, Vinyals and Dean 2015 (arXiv
// 1503.02531), section 2.
#pragma once
#include "kernels/softmax.h"

namespace espalier::kernels {

struct Teachers {
  static constexpr int kMost = 8;
  const float* logits[kMost] = {};     // [rows, columns] each
  int count = 0;                       // 1 to kMost
  const std::int32_t* rows = nullptr;  // [rows]: which row of theirs belongs to a row, in tables; null: the same
};

struct DistillationShare {
  float temperature = 4.0f;  // above 0
  float weight = 0.9f;       // of the teachers in [0, 1]; the labels have the rest
};

// loss = mean over rows of (1 - weight) * -log softmax(x)[label] + weight * T^2 * sum_c p_c log(p_c / q_c), with
// q = softmax(x / T) and p the mean over the teachers of softmax(z / T). T^2 keeps the gradient's size at any T.
// Everything else as softmax_cross_entropy() has it: workspace, arrivals, a label that cannot be.
void distillation_loss(const MatrixShape& shape, const DistillationShare& share, const Teachers& teachers,
                       const float* logits, const std::int32_t* labels, const SoftmaxCrossEntropyOutputs& outputs,
                       void* workspace, cudaStream_t stream, unsigned* arrivals = nullptr,
                       RowTeam team = RowTeam::automatic);

}  // namespace espalier::kernels
