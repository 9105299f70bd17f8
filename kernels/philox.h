// Philox4x32-10: 128 random bits as a pure function of a 128-bit counter and a 64-bit key (Salmon, Moraes, Dror and
// Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011). No state: element i of stream s is the same number on
// a CPU, on a GPU and in any thread order. 20 multiplies of 32 x 32 bits for four words.
#pragma once
#include <cstdint>

#include "kernels/elementary.h"
#include "kernels/random_stream.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

struct PhiloxWords {
  std::uint32_t word[4];
};

__device__ inline PhiloxWords philox4x32_10(PhiloxWords counter, std::uint32_t key0, std::uint32_t key1) {
  constexpr std::uint32_t kMultiplier0 = 0xD2511F53u, kMultiplier1 = 0xCD9E8D57u;
  constexpr std::uint32_t kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;
  std::uint32_t x0 = counter.word[0], x1 = counter.word[1], x2 = counter.word[2], x3 = counter.word[3];
  for (std::uint32_t round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t(kMultiplier0) * x0, product1 = std::uint64_t(kMultiplier1) * x2;
    x0 = std::uint32_t(product1 >> 32) ^ x1 ^ (key0 + round * kWeyl0);
    x2 = std::uint32_t(product0 >> 32) ^ x3 ^ (key1 + round * kWeyl1);
    x1 = std::uint32_t(product1);
    x3 = std::uint32_t(product0);
  }
  return {x0, x1, x2, x3};
}

// The four words at `position` of a stream.
__device__ inline PhiloxWords random_words(RandomStream stream, std::uint64_t position) {
  const PhiloxWords counter{std::uint32_t(position), std::uint32_t(position >> 32), std::uint32_t(stream.stream),
                            std::uint32_t(stream.stream >> 32)};
  return philox4x32_10(counter, std::uint32_t(stream.seed), std::uint32_t(stream.seed >> 32));
}

// Multiples of 2^-24 in [0, 1): every one is exactly a float.
__device__ inline float uniform_from(std::uint32_t word) { return float(std::int32_t(word >> 8)) * 0x1p-24f; }

struct NormalPair {
  float first, second;
};

// Box and Muller 1958: two words give two independent standard normals, at most 5.77 in magnitude.
__device__ inline NormalPair normals_from(std::uint32_t word0, std::uint32_t word1) {
  const float u = float(std::int32_t(word0 >> 8) + 1) * 0x1p-24f;  // (0, 1]: the logarithm is finite
  const float radius = sqrtf(-2.0f * natural_logarithm(u));
  const SineCosine turn = sine_cosine_of_turn(uniform_from(word1));
  return {radius * turn.cosine, radius * turn.sine};
}

}  // namespace espalier::kernels
