// Philox4x32-10 on the host, written from the paper, and which of its words belongs to which element
// (kernels/random.h).
#pragma once
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "kernels/random_stream.h"

namespace espalier::test {

using Words = std::array<std::uint32_t, 4>;

inline Words philox_reference(Words counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = counter[0] * 0xD2511F53ull, b = counter[2] * 0xCD9E8D57ull;
    counter = {std::uint32_t(b >> 32) ^ counter[1] ^ key[0], std::uint32_t(b),
               std::uint32_t(a >> 32) ^ counter[3] ^ key[1], std::uint32_t(a)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

inline Words words_at(kernels::RandomStream random, std::uint64_t position) {
  return philox_reference({std::uint32_t(position), std::uint32_t(position >> 32), std::uint32_t(random.stream),
                           std::uint32_t(random.stream >> 32)},
                          {std::uint32_t(random.seed), std::uint32_t(random.seed >> 32)});
}

inline std::uint32_t word_of_element(kernels::RandomStream random, std::uint64_t i) {
  return words_at(random, i / 128 * 32 + i % 32)[i / 32 % 4];
}

inline double uniform_reference(kernels::RandomStream random, std::uint64_t i) {
  return double(word_of_element(random, i) >> 8) * 0x1p-24;
}

inline double normal_reference(kernels::RandomStream random, std::uint64_t i) {
  const std::uint64_t pair = i / 64 * 64 + i % 32;  // words 0 and 1, or 2 and 3, of one position
  const double u = double((word_of_element(random, pair) >> 8) + 1) * 0x1p-24;
  const double angle = 2 * std::numbers::pi * uniform_reference(random, pair + 32);
  return std::sqrt(-2 * std::log(u)) * (i / 32 % 2 == 0 ? std::cos(angle) : std::sin(angle));
}

}  // namespace espalier::test
