// The warp-wide products with a sparse operand, one warp at a time: every choice of places against double.
#include <doctest/doctest.h>

#include <cstring>

#include "kernels/simt/tensor_core.h"
#include "kernels/sparse/two_four_tensor_core.h"
#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/narrow.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

template <class T>
struct Shape {
  static constexpr int kPer = 4 / int(sizeof(T)), kKept = 8 * kPer, kDepth = 2 * kKept, kGroup = 2 * kPer;
};

template <class T>
__device__ unsigned pack(const T* from) {  // 32 bits of elements
  unsigned bits;
  memcpy(&bits, from, sizeof bits);
  return bits;
}

// d [16, 8] += a * b: kept [16, kKept] of a, which lies at places [16 rows, 2 halves of the depth], and b transposed,
// as [8, kDepth]. The fragments are put together element by element from the definition of their layout.
template <class T, int kSelector>
__global__ void sparse_product_kernel(const T* kept, const std::uint16_t* places, const T* b, float* d) {
  using S = Shape<T>;
  const int lane = int(threadIdx.x), g = lane / 4, t = lane % 4;
  unsigned left[4], right[4];
  for (int i = 0; i < 4; ++i) {
    left[i] = pack(kept + (g + i % 2 * 8) * S::kKept + (t + i / 2 * 4) * S::kPer);
    right[i] = pack(b + g * S::kDepth + (t + i * 4) * S::kPer);
  }
  const unsigned word = places[g * 2 + t % 2] | unsigned(places[(g + 8) * 2 + t % 2]) << 16;
  float sum[4] = {d[g * 8 + 2 * t], d[g * 8 + 2 * t + 1], d[(g + 8) * 8 + 2 * t], d[(g + 8) * 8 + 2 * t + 1]};
  simt::multiply_sparse_fragments<T, kSelector>(sum, left, right, t / 2 == kSelector ? word : 0u);
  d[g * 8 + 2 * t] = sum[0], d[g * 8 + 2 * t + 1] = sum[1];
  d[(g + 8) * 8 + 2 * t] = sum[2], d[(g + 8) * 8 + 2 * t + 1] = sum[3];
}

// The two places of a group (of tf32: one of two) that `choice` names, of six or two that there are.
template <class T>
std::pair<int, int> places_of(unsigned choice) {
  constexpr std::pair<int, int> kPairs[] = {{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}};
  return sizeof(T) == 4 ? std::pair<int, int>(int(choice % 2), int(choice % 2)) : kPairs[choice % 6];
}

template <class T, int kSelector>
void check_sparse_product(unsigned seed) {
  using S = Shape<T>;
  const std::vector<T> kept = rounded<T>(random_floats(16 * S::kKept, seed));
  const std::vector<T> b = rounded<T>(random_floats(8 * S::kDepth, seed + 1));
  const std::vector<float> c = random_floats(128, seed + 2);
  std::vector<double> a(16 * S::kDepth);
  std::vector<std::uint16_t> places(32);
  std::mt19937 engine(seed);
  for (int row = 0; row < 16; ++row) {
    for (int group = 0; group < 8; ++group) {
      const auto [first, second] = places_of<T>(engine());
      const int nibble = sizeof(T) == 4 ? (first == 0 ? 0x4 : 0xE) : first | second << 2;
      places[row * 2 + group / 4] |= static_cast<std::uint16_t>(nibble << (4 * (group % 4)));
      for (int i = 0; i < S::kPer; ++i) {
        a[row * S::kDepth + group * S::kGroup + (i == 0 ? first : second)] =
            double(to_float(kept[row * S::kKept + group * S::kPer + i]));
      }
    }
  }
  const GuardedBuffer<T> device_kept(kept), device_b(b);
  const GuardedBuffer<std::uint16_t> device_places(places);
  GuardedBuffer<float> d(c);
  simt::launch(sparse_product_kernel<T, kSelector>, {.grid = dim3(1), .block = dim3(32)}, device_kept.data(),
               device_places.data(), device_b.data(), d.data());
  std::vector<double> expected(c.begin(), c.end());
  for (int i = 0; i < 128; ++i) {
    for (int k = 0; k < S::kDepth; ++k)
      expected[i] += a[i / 8 * S::kDepth + k] * double(to_float(b[i % 8 * S::kDepth + k]));
  }
  CHECK(difference(d.download(), expected, 1e-6, 1e-6) == "");
}

template <class T>
void check_sparse_products() {
  for (unsigned seed = 1; seed < 6; ++seed) {
    check_sparse_product<T, 0>(seed);
    check_sparse_product<T, 1>(seed);
  }
}

}  // namespace

TEST_CASE("sparse tensor core: products in tf32, fp16 and bf16 agree with double, whatever places are kept") {
  if (!has_sparse_tensor_cores()) return;
  check_sparse_products<float>();
  check_sparse_products<half>();
  check_sparse_products<bfloat16>();
}
