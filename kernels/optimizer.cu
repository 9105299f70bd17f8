// SGD and Adam with masks, one block per chunk of a tensor; formulae and cost in optimizer.h.
// A GPU thread takes four neighbouring weights through 128-bit loads and stores, and their four mask bits from one word
// that eight threads share; a CPU thread runs along its chunk, and the compiler vectorises. Of kept weights alone a GPU
// thread takes one at a time: their sectors are what it costs, 4 to 32 bytes for each array's weight.
#include "kernels/optimizer.h"

#include "kernels/last_block.h"
#include "kernels/tensor_table.h"

namespace espalier::kernels {
namespace {

constexpr int kWord = 32;  // weights per word of mask bits
static_assert(Chunk::kElements % kWord == 0, "a chunk must begin with a word of mask bits of its own");

// What an update changes of one tensor: the weight and its moments, element by element the same.
template <int kArrays>
struct Changed {
  float* array[kArrays];
};

template <int kArrays>
__device__ bool is_aligned(const float* gradient, const Changed<kArrays>& changed) {
  std::uintptr_t address = reinterpret_cast<std::uintptr_t>(gradient);
  for (int k = 0; k < kArrays; ++k) address |= reinterpret_cast<std::uintptr_t>(changed.array[k]);
  return address % sizeof(float4) == 0;
}

// On a GPU: rule(gradient, values) changes the values of one weight in place.
template <int kArrays, class Rule>
__device__ void update_by_quads(const Chunk& chunk, const float* __restrict__ gradient, const Changed<kArrays>& changed,
                                const std::uint32_t* __restrict__ keep, const Rule& rule) {
  constexpr int kQuad = 4;
  const bool aligned = is_aligned(gradient, changed);
  for (index_t i = chunk.begin + kQuad * index_t(threadIdx.x); i < chunk.end; i += kQuad * Chunk::kThreads) {
    const std::uint32_t kept = keep == nullptr ? ~0u : keep[i / kWord] >> (i % kWord);
    const bool whole = aligned && i + kQuad <= chunk.end;
    float g[kQuad] = {}, values[kArrays][kQuad] = {};
    if (whole) {
      *reinterpret_cast<float4*>(g) = *reinterpret_cast<const float4*>(gradient + i);
#pragma unroll
      for (int k = 0; k < kArrays; ++k) {
        *reinterpret_cast<float4*>(values[k]) = *reinterpret_cast<const float4*>(changed.array[k] + i);
      }
    } else {
#pragma unroll
      for (int j = 0; j < kQuad; ++j) {
        if (i + j >= chunk.end) continue;
        g[j] = gradient[i + j];
        for (int k = 0; k < kArrays; ++k) values[k][j] = changed.array[k][i + j];
      }
    }
#pragma unroll
    for (int j = 0; j < kQuad; ++j) {
      float of_weight[kArrays];
      for (int k = 0; k < kArrays; ++k) of_weight[k] = values[k][j];
      rule(g[j], of_weight);
      for (int k = 0; k < kArrays; ++k) values[k][j] = kept >> j & 1u ? of_weight[k] : 0.0f;
    }
    if (whole) {
#pragma unroll
      for (int k = 0; k < kArrays; ++k) {
        *reinterpret_cast<float4*>(changed.array[k] + i) = *reinterpret_cast<const float4*>(values[k]);
      }
    } else {
#pragma unroll
      for (int j = 0; j < kQuad; ++j) {
        if (i + j >= chunk.end) continue;
        for (int k = 0; k < kArrays; ++k) changed.array[k][i + j] = values[k][j];
      }
    }
  }
}

// On a CPU: the same weight by weight. The arrays never overlap, which the compiler cannot see.
template <int kArrays, class Rule, class Masked>
__device__ void update_run(index_t begin, index_t count, const float* all_gradients, const Changed<kArrays>& changed,
                           const Rule& rule, Masked masked) {
  const float* const gradient = all_gradients + begin;
  Changed<kArrays> at;
  for (int k = 0; k < kArrays; ++k) at.array[k] = changed.array[k] + begin;
#pragma GCC ivdep
  for (index_t i = 0; i < count; ++i) {
    float of_weight[kArrays];
    for (int k = 0; k < kArrays; ++k) of_weight[k] = at.array[k][i];
    rule(gradient[i], of_weight);
    for (int k = 0; k < kArrays; ++k) at.array[k][i] = masked(i, of_weight[k]);
  }
}

template <int kArrays, class Rule>
__device__ void update_by_words(const Chunk& chunk, const float* gradient, const Changed<kArrays>& changed,
                                const std::uint32_t* keep, const Rule& rule) {
  if (keep == nullptr) {
    return update_run(chunk.begin, chunk.end - chunk.begin, gradient, changed, rule,
                      [](index_t, float value) { return value; });
  }
  constexpr int kRun = 16 * kWord;  // each bit spread to the width of a weight first: then the update vectorises
  std::uint32_t lives[kRun];
  for (index_t begin = chunk.begin; begin < chunk.end; begin += kRun) {
    const index_t left = chunk.end - begin, count = left < kRun ? left : kRun;
    for (index_t i = 0; i < count; i += kWord) {
      const std::uint32_t word = keep[(begin + i) / kWord];
      for (int bit = 0; bit < kWord; ++bit) lives[i + bit] = word >> bit & 1u;
    }
    update_run(begin, count, gradient, changed, rule,
               [list = static_cast<const std::uint32_t*>(lives)](index_t i, float value) {
                 return list[i] != 0 ? value : 0.0f;
               });
  }
}

// Weights that lie apart. A CPU thread brings them together first: then the update vectorises.
template <int kArrays, class Rule>
__device__ void update_places(const Chunk& chunk, const float* __restrict__ gradient, const Changed<kArrays>& changed,
                              const std::int32_t* __restrict__ places, const Rule& rule) {
  if constexpr (simt::kEmulated) {
    constexpr int kRun = 512;
    float together[kArrays][kRun];
    Changed<kArrays> run;
    for (int k = 0; k < kArrays; ++k) run.array[k] = together[k];
    for (index_t begin = chunk.begin; begin < chunk.end; begin += kRun) {
      const index_t left = chunk.end - begin, count = left < kRun ? left : kRun;
      for (int k = 0; k < kArrays; ++k) {
        for (index_t i = 0; i < count; ++i) together[k][i] = changed.array[k][places[begin + i]];
      }
      update_run(0, count, gradient + begin, run, rule, [](index_t, float value) { return value; });
      for (int k = 0; k < kArrays; ++k) {
        for (index_t i = 0; i < count; ++i) changed.array[k][places[begin + i]] = together[k][i];
      }
    }
  } else {
    for (index_t i = chunk.begin + index_t(threadIdx.x); i < chunk.end; i += Chunk::kThreads) {
      const std::int32_t place = places[i];
      float of_weight[kArrays];
#pragma unroll
      for (int k = 0; k < kArrays; ++k) of_weight[k] = changed.array[k][place];
      rule(gradient[i], of_weight);
#pragma unroll
      for (int k = 0; k < kArrays; ++k) changed.array[k][place] = of_weight[k];
    }
  }
}

template <class Tensor, int kArrays, class Rule>
__device__ void update_chunk(const Chunk& chunk, const Tensor& tensor, const Changed<kArrays>& changed,
                             const Rule& rule) {
  if (tensor.places != nullptr) return update_places(chunk, tensor.gradient, changed, tensor.places, rule);
  if constexpr (simt::kEmulated) {
    update_by_words(chunk, tensor.gradient, changed, tensor.keep, rule);
  } else {
    update_by_quads(chunk, tensor.gradient, changed, tensor.keep, rule);
  }
}

template <class State>
__device__ float rate_of(const State& state) {
  const bool listed = state.step >= state.rates.begin && state.step < state.rates.end;
  return listed ? state.rates.rate[state.step - state.rates.begin] : state.learning_rate;
}

// What the loss scale says of this update. All blocks read it before the last one chooses the next scale.
struct Verdict {
  bool good;
  float gradient_scale;
};

template <class State>
__device__ Verdict verdict_on(const State& state) {
  if (state.loss_scale.state == nullptr) return {true, state.gradient_scale};
  return {state.loss_scale.state->overflowed == 0, state.gradient_scale / *state.loss_scale.scale};
}

__device__ void choose_scale(const LossScale& loss_scale, bool good) {
  LossScaleState& state = *loss_scale.state;
  float& scale = *loss_scale.scale;
  state.overflowed = 0;
  if (!good) {
    ++state.skipped_steps;
    state.good_steps = 0;
    scale = max(scale * state.backoff, state.smallest);
  } else if (++state.good_steps >= state.growth_interval) {
    state.good_steps = 0;
    scale = min(scale * state.growth, state.largest);
  }
}

// What one thread does when all blocks are through. `of` is the state as they read it.
template <class State>
__device__ void count_step(State* state, const State& of, float rate, bool good) {
  state->learning_rate = rate;
  if (good) {
    state->step = of.step + 1;
  } else {  // the skipped step has had its rate
    state->rates.begin = of.rates.begin - 1;
    state->rates.end = of.rates.end - 1;
  }
  if (of.loss_scale.state != nullptr) choose_scale(of.loss_scale, good);
}

__global__ void sgd_update_kernel(const TensorTable<SgdTensor> table, SgdState* state, unsigned blocks) {
  const Chunk chunk = table.chunk_of_block();
  const SgdTensor& tensor = table.entry[chunk.tensor];
  const SgdState of = *state;
  const float rate = rate_of(of);
  const Verdict verdict = verdict_on(of);
  const auto decayed = [&](float gradient, float w) { return verdict.gradient_scale * gradient + of.weight_decay * w; };
  if (verdict.good && tensor.momentum == nullptr) {
    update_chunk(chunk, tensor, Changed<1>{{tensor.value}},
                 [&](float gradient, float(&value)[1]) { value[0] -= rate * decayed(gradient, value[0]); });
  } else if (verdict.good) {
    update_chunk(chunk, tensor, Changed<2>{{tensor.value, tensor.momentum}}, [&](float gradient, float(&value)[2]) {
      const float g = decayed(gradient, value[0]), velocity = of.momentum * value[1] + g;
      const float direction = of.nesterov != 0 ? g + of.momentum * velocity : velocity;
      value[0] -= rate * direction;
      value[1] = velocity;
    });
  }
  if (is_last_block(&state->finished_blocks, blocks) && threadIdx.x == 0) count_step(state, of, rate, verdict.good);
}

struct BiasCorrections {
  float first, root_second;
};

__device__ BiasCorrections corrections_of(const AdamState& state, std::int64_t update) {
  return {float(1.0 - pow(state.beta1, double(update))), float(sqrt(1.0 - pow(state.beta2, double(update))))};
}

__global__ void adam_update_kernel(const TensorTable<AdamTensor> table, AdamState* state, unsigned blocks) {
  const Chunk chunk = table.chunk_of_block();
  const AdamTensor& tensor = table.entry[chunk.tensor];
  const AdamState of = *state;
  const BiasCorrections correction = of.bias_correction1 > 0.0f
                                         ? BiasCorrections{of.bias_correction1, of.root_bias_correction2}
                                         : corrections_of(of, of.step + 1);
  const float learning_rate = rate_of(of);
  const float beta2 = float(of.beta2), complement1 = float(1.0 - of.beta1), complement2 = float(1.0 - of.beta2);
  const bool decoupled = of.decay == WeightDecay::decoupled;
  const float shrink = decoupled ? 1.0f - learning_rate * of.weight_decay : 1.0f;
  const float decay = decoupled ? 0.0f : of.weight_decay;
  const float rate = learning_rate / correction.first, inverse_root = 1.0f / correction.root_second;
  const Verdict verdict = verdict_on(of);
  if (verdict.good) {
    update_chunk(chunk, tensor, Changed<3>{{tensor.value, tensor.first_moment, tensor.second_moment}},
                 [&](float gradient, float(&value)[3]) {
                   const float g = verdict.gradient_scale * gradient + decay * value[0];
                   value[1] += complement1 * (g - value[1]);
                   value[2] = beta2 * value[2] + complement2 * g * g;
                   const float spread = sqrtf(value[2]) * inverse_root + of.epsilon;
                   value[0] = value[0] * shrink - rate * value[1] / spread;
                 });
  }
  if (is_last_block(&state->finished_blocks, blocks) && threadIdx.x == 0) {
    const BiasCorrections next = verdict.good ? corrections_of(of, of.step + 2) : correction;
    state->bias_correction1 = next.first;
    state->root_bias_correction2 = next.root_second;
    count_step(state, of, learning_rate, verdict.good);
  }
}

// The blocks of all tables count together, so that the last one of the last table ends the update.
template <class Tensor>
unsigned blocks_of(std::span<const Tensor> tensors) {
  index_t blocks = 0;
  for (const Tensor& tensor : tensors) blocks += chunks_of(std::max<index_t>(tensor.count, 0));
  require(blocks <= kMaxGridX, "an update of ", blocks, " chunks; at most ", kMaxGridX, " can be counted");
  return unsigned(blocks);
}

}  // namespace

void sgd_update(std::span<const SgdTensor> tensors, SgdState* state, cudaStream_t stream) {
  const unsigned blocks = blocks_of(tensors);
  for_each_table(tensors, [&](const TensorTable<SgdTensor>& table) {
    simt::launch(sgd_update_kernel, table.launch(stream), table, state, blocks);
  });
}

void adam_update(std::span<const AdamTensor> tensors, AdamState* state, cudaStream_t stream) {
  const unsigned blocks = blocks_of(tensors);
  for_each_table(tensors, [&](const TensorTable<AdamTensor>& table) {
    simt::launch(adam_update_kernel, table.launch(stream), table, state, blocks);
  });
}

}  // namespace espalier::kernels
