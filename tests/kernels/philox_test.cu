#include "kernels/philox.h"

#include <doctest/doctest.h>

#include <vector>

#include "tests/support/guarded_buffer.h"
#include "tests/support/reference/random.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

__global__ void philox_kernel(PhiloxWords counter, std::uint32_t key0, std::uint32_t key1, std::uint32_t* out) {
  const PhiloxWords words = philox4x32_10(counter, key0, key1);
  for (int w = 0; w < 4; ++w) out[w] = words.word[w];
}

__global__ void random_words_kernel(RandomStream stream, std::uint64_t position, std::uint32_t* out) {
  const PhiloxWords words = random_words(stream, position);
  for (int w = 0; w < 4; ++w) out[w] = words.word[w];
}

__global__ void numbers_kernel(std::uint32_t word0, std::uint32_t word1, float* out) {
  const NormalPair normals = normals_from(word0, word1);
  out[0] = uniform_from(word0);
  out[1] = normals.first;
  out[2] = normals.second;
}

std::vector<float> numbers(std::uint32_t word0, std::uint32_t word1) {
  GuardedBuffer<float> out(3);
  simt::launch(numbers_kernel, {dim3(1), dim3(1)}, word0, word1, out.data());
  return out.download();
}

}  // namespace

TEST_CASE("philox4x32_10: equals the published known answers") {
  struct KnownAnswer {  // kat_vectors of the Random123 library that accompanies the paper
    Words counter;
    std::array<std::uint32_t, 2> key;
    Words expected;
  };
  const KnownAnswer answers[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
       {0xffffffff, 0xffffffff},
       {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (const auto& [counter, key, expected] : answers) {
    GuardedBuffer<std::uint32_t> out(4);
    const PhiloxWords from{counter[0], counter[1], counter[2], counter[3]};
    simt::launch(philox_kernel, {dim3(1), dim3(1)}, from, key[0], key[1], out.data());
    CHECK(out.download() == std::vector<std::uint32_t>(expected.begin(), expected.end()));
    CHECK(philox_reference(counter, key) == expected);
  }
}

TEST_CASE("philox: seed, stream and position use all their 64 bits") {
  for (const RandomStream stream : {RandomStream{1, 2}, {0x123456789abcdef0, 3}, {5, 0xfedcba9876543210}}) {
    for (std::uint64_t position : {0ull, 7ull, 0x1122334455667788ull}) {
      GuardedBuffer<std::uint32_t> out(4);
      simt::launch(random_words_kernel, {dim3(1), dim3(1)}, stream, position, out.data());
      const Words expected = words_at(stream, position);
      CHECK(out.download() == std::vector<std::uint32_t>(expected.begin(), expected.end()));
    }
  }
}

TEST_CASE("philox: uniform numbers stay below 1, normal ones finite, at the extreme words") {
  CHECK(numbers(0, 0) == std::vector<float>{0.0f, numbers(0, 0)[1], 0.0f});
  CHECK(numbers(0, 0)[1] == doctest::Approx(5.76810));  // sqrt(-2 log 2^-24): the largest there is
  CHECK(numbers(0xffffffff, 0)[0] == 1.0f - 0x1p-24f);
  CHECK(numbers(0xffffffff, 0x40000000) == std::vector<float>{1.0f - 0x1p-24f, 0.0f, 0.0f});  // log 1
}
