// One block per chunk of a tensor for the maps, one team per group for the group norms (fixed order of summation).
#include "kernels/proximal.h"

#include <cmath>

#include "kernels/tensor_table.h"

namespace espalier::kernels {
namespace {

template <class Body>
__device__ void for_each_in_chunk(const Chunk& chunk, Body body) {
  if constexpr (simt::kEmulated) {
#pragma GCC ivdep
    for (index_t i = chunk.begin; i < chunk.end; ++i) body(i);
  } else {
    Team<Chunk::kThreads>::for_each(chunk.begin, chunk.end, body);
  }
}

__global__ void proximal_l1_kernel(const TensorTable<Penalised> table, const float* __restrict__ rate, float strength) {
  const Chunk chunk = table.chunk_of_block();
  float* const w = table.entry[chunk.tensor].weight;
  const float step = *rate * strength;
  for_each_in_chunk(chunk, [=](index_t i) {
    const float moved = w[i] > 0.0f ? w[i] - step : w[i] + step;
    w[i] = fabsf(w[i]) <= step ? 0.0f : moved;  // false for NaN
  });
}

__global__ void proximal_l2_kernel(const TensorTable<ChosenWeights> table, const float* __restrict__ rate,
                                   const float* __restrict__ strength) {
  const Chunk chunk = table.chunk_of_block();
  float* const w = table.entry[chunk.tensor].weight;
  const std::uint8_t* const chosen = table.entry[chunk.tensor].chosen;
  const float factor = 1.0f / (1.0f + *rate * *strength);
  if (chosen == nullptr) {
    for_each_in_chunk(chunk, [=](index_t i) { w[i] *= factor; });
  } else {
    for_each_in_chunk(chunk, [=](index_t i) { w[i] = chosen[i] != 0 ? w[i] * factor : w[i]; });
  }
}

__global__ void proximal_pull_kernel(const TensorTable<PulledWeights> table, const float* __restrict__ rate,
                                     const float* __restrict__ strength) {
  const Chunk chunk = table.chunk_of_block();
  float* const w = table.entry[chunk.tensor].weight;
  const float* const target = table.entry[chunk.tensor].target;
  const float step = *rate * *strength, factor = 1.0f / (1.0f + step);
  for_each_in_chunk(chunk, [=](index_t i) { w[i] = (w[i] + step * target[i]) * factor; });
}

__global__ void split_projection_kernel(index_t count, const std::uint8_t* __restrict__ keep, float* v_then_dual,
                                        float* __restrict__ target) {
  for_each_element(count, [&](index_t i) {
    const float v = v_then_dual[i];
    target[i] = keep[i] != 0 ? v : 0.0f - v;
    v_then_dual[i] = keep[i] != 0 ? 0.0f : v;
  });
}

template <int kThreads>
__global__ void proximal_group_lasso_kernel(PlanesShape shape, const float* __restrict__ rate, float strength,
                                            float* weight) {
  using Group = Team<kThreads>;
  const index_t group = team_row<kThreads>();
  const bool exists = group < shape.channels;
  const index_t area = exists ? shape.area : 0;  // a team beyond the last group still meets the others
  float* const w = weight + (exists ? group : 0) * shape.area;
  const index_t pitch = shape.channels * shape.area;
  float squares[kAccumulators] = {};
  for (index_t plane = 0; plane < shape.batch; ++plane) {
    const float* const run = w + plane * pitch;
    Group::accumulate(
        0, area, squares, [=](index_t i) { return run[i] * run[i]; }, Sum());
  }
  const float norm = sqrtf(Group::reduce(combine_accumulators(squares, Sum()), Sum()));
  const float step = *rate * strength * sqrtf(float(shape.per_channel()));
  const bool falls = norm <= step;
  const float factor = 1.0f - step / norm;
  for (index_t plane = 0; plane < shape.batch; ++plane) {
    float* const run = w + plane * pitch;
    Group::for_each(0, area, [=](index_t i) { run[i] = falls ? 0.0f : run[i] * factor; });
  }
}

void require_strength(float strength, const char* launcher) {
  require(std::isfinite(strength) && strength >= 0.0f, launcher, ": the penalty's strength is ", strength,
          "; it must be at least 0");
}

}  // namespace

void proximal_l1(std::span<const Penalised> tensors, const float* rate, float strength, cudaStream_t stream) {
  require_strength(strength, "proximal_l1");
  for_each_table(tensors, [&](const TensorTable<Penalised>& table) {
    simt::launch(proximal_l1_kernel, table.launch(stream), table, rate, strength);
  });
}

void proximal_l2(std::span<const ChosenWeights> tensors, const float* rate, const float* strength,
                 cudaStream_t stream) {
  for_each_table(tensors, [&](const TensorTable<ChosenWeights>& table) {
    simt::launch(proximal_l2_kernel, table.launch(stream), table, rate, strength);
  });
}

void proximal_pull(std::span<const PulledWeights> tensors, const float* rate, const float* strength,
                   cudaStream_t stream) {
  for_each_table(tensors, [&](const TensorTable<PulledWeights>& table) {
    simt::launch(proximal_pull_kernel, table.launch(stream), table, rate, strength);
  });
}

void split_projection(index_t count, const std::uint8_t* keep, float* v_then_dual, float* target, cudaStream_t stream) {
  if (count == 0) return;
  simt::launch(split_projection_kernel, elements_grid(count, stream), count, keep, v_then_dual, target);
}

void proximal_group_lasso(const PlanesShape& shape, const float* rate, float strength, float* weight,
                          cudaStream_t stream) {
  require_strength(strength, "proximal_group_lasso");
  if (shape.size() == 0) return;
  with_row_team(shape.area, RowTeam::automatic, [&]<int kThreads>() {
    simt::launch(proximal_group_lasso_kernel<kThreads>, team_per_row<kThreads>(shape.channels, stream), shape, rate,
                 strength, weight);
  });
}

}  // namespace espalier::kernels
