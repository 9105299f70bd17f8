// One block per chunk of a gradient, as the update that follows; cost and source in loss_scale.h.
#include "kernels/loss_scale.h"

#include "kernels/tensor_table.h"

namespace espalier::kernels {
namespace {

__global__ void find_overflow_kernel(const TensorTable<GradientTensor> table, LossScaleState* state) {
  constexpr unsigned kExponent = 0x7f800000u;  // all ones: infinity or NaN
  const Chunk chunk = table.chunk_of_block();
  const float* __restrict__ gradient = table.entry[chunk.tensor].gradient;
  unsigned found = 0;
  Team<Chunk::kThreads>::for_each(chunk.begin, chunk.end, [&](index_t i) {
    found |= (__float_as_uint(gradient[i]) & kExponent) == kExponent ? 1u : 0u;
  });
  if (found != 0) atomicOr(&state->overflowed, 1);  // rare, and its order cannot show
}

}  // namespace

void find_overflow(std::span<const GradientTensor> gradients, LossScaleState* state, cudaStream_t stream) {
  for_each_table(gradients, [&](const TensorTable<GradientTensor>& table) {
    simt::launch(find_overflow_kernel, table.launch(stream), table, state);
  });
}

}  // namespace espalier::kernels
