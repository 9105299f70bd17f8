// SGD and Adam with masks, one block per chunk of a tensor; formulae and cost in optimizer.h.
#include "kernels/optimizer.h"

#include "kernels/tensor_table.h"

namespace espalier::kernels {
namespace {

using Threads = Team<Chunk::kThreads>;

struct Masked {
  const std::uint8_t* keep;
  __device__ float operator()(index_t i, float value) const { return keep[i] != 0 ? value : 0.0f; }
};
struct Unmasked {
  __device__ float operator()(index_t, float value) const { return value; }
};

// The mask is tested once per chunk, so that the loop without one has neither its loads nor a branch.
template <class Update>
__device__ void with_mask(const std::uint8_t* keep, Update update) {
  if (keep != nullptr)
    update(Masked{keep});
  else
    update(Unmasked{});
}

__global__ void sgd_update_kernel(const TensorTable<SgdTensor> table, const SgdState* state) {
  const Chunk chunk = table.chunk_of_block();
  const SgdTensor& tensor = table.entry[chunk.tensor];
  const SgdState of = *state;
  float* __restrict__ w = tensor.value;
  float* __restrict__ m = tensor.momentum;
  const float* __restrict__ gradient = tensor.gradient;
  with_mask(tensor.keep, [&](auto masked) {
    if (m == nullptr) {
      Threads::for_each(chunk.begin, chunk.end, [&](index_t i) {
        const float g = of.gradient_scale * gradient[i] + of.weight_decay * w[i];
        w[i] = masked(i, w[i] - of.learning_rate * g);
      });
      return;
    }
    Threads::for_each(chunk.begin, chunk.end, [&](index_t i) {
      const float g = of.gradient_scale * gradient[i] + of.weight_decay * w[i];
      const float velocity = of.momentum * m[i] + g;
      const float direction = of.nesterov != 0 ? g + of.momentum * velocity : velocity;
      m[i] = masked(i, velocity);
      w[i] = masked(i, w[i] - of.learning_rate * direction);
    });
  });
}

__global__ void adam_update_kernel(const TensorTable<AdamTensor> table, const AdamState* state) {
  const Chunk chunk = table.chunk_of_block();
  const AdamTensor& tensor = table.entry[chunk.tensor];
  const AdamState of = *state;
  float* __restrict__ w = tensor.value;
  float* __restrict__ m = tensor.first_moment;
  float* __restrict__ v = tensor.second_moment;
  const float* __restrict__ gradient = tensor.gradient;
  const float beta2 = float(of.beta2), complement1 = float(1.0 - of.beta1), complement2 = float(1.0 - of.beta2);
  const bool decoupled = of.decay == WeightDecay::decoupled;
  const float shrink = decoupled ? 1.0f - of.learning_rate * of.weight_decay : 1.0f;
  const float decay = decoupled ? 0.0f : of.weight_decay;
  const float rate = of.learning_rate / of.bias_correction1, inverse_root = 1.0f / of.root_bias_correction2;
  with_mask(tensor.keep, [&](auto masked) {
    Threads::for_each(chunk.begin, chunk.end, [&](index_t i) {
      const float g = of.gradient_scale * gradient[i] + decay * w[i];
      const float first = m[i] + complement1 * (g - m[i]);
      const float second = beta2 * v[i] + complement2 * g * g;
      m[i] = masked(i, first);
      v[i] = masked(i, second);
      w[i] = masked(i, w[i] * shrink - rate * first / (sqrtf(second) * inverse_root + of.epsilon));
    });
  });
}

__global__ void advance_sgd_step_kernel(SgdState* state) { ++state->step; }

__global__ void advance_adam_step_kernel(AdamState* state) {
  const double step = double(++state->step);
  state->bias_correction1 = float(1.0 - pow(state->beta1, step));
  state->root_bias_correction2 = float(sqrt(1.0 - pow(state->beta2, step)));
}

constexpr unsigned kOneThread = 1;

}  // namespace

void sgd_update(std::span<const SgdTensor> tensors, const SgdState* state, cudaStream_t stream) {
  for_each_table(tensors, [&](const TensorTable<SgdTensor>& table) {
    simt::launch(sgd_update_kernel, table.launch(stream), table, state);
  });
}

void adam_update(std::span<const AdamTensor> tensors, const AdamState* state, cudaStream_t stream) {
  for_each_table(tensors, [&](const TensorTable<AdamTensor>& table) {
    simt::launch(adam_update_kernel, table.launch(stream), table, state);
  });
}

void advance_step(SgdState* state, cudaStream_t stream) {
  simt::launch(advance_sgd_step_kernel, simt::Launch{dim3(kOneThread), dim3(kOneThread), 0, stream}, state);
}

void advance_step(AdamState* state, cudaStream_t stream) {
  simt::launch(advance_adam_step_kernel, simt::Launch{dim3(kOneThread), dim3(kOneThread), 0, stream}, state);
}

}  // namespace espalier::kernels
