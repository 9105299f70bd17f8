// The warp-wide products and matrix loads, one warp at a time: every position of every fragment against double.
#include "kernels/simt/tensor_core.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>

#include "kernels/gemm_tensor_core.h"
#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

template <class T>
__device__ unsigned pack(const T* from) {  // two of 16 bits
  unsigned bits;
  memcpy(&bits, from, sizeof bits);
  return bits;
}

// d [16, 8] += a [16, depth] * b, which lies transposed as [8, depth]; the fragments are put together element by
// element from the definition of their layout. kDepth 8 of half is the product of compute capability 7.5.
template <class T, int kDepth>
__global__ void product_kernel(const T* a, const T* b, float* d) {
  const int lane = int(threadIdx.x), g = lane / 4, t = lane % 4;
  float sum[4] = {d[g * 8 + 2 * t], d[g * 8 + 2 * t + 1], d[(g + 8) * 8 + 2 * t], d[(g + 8) * 8 + 2 * t + 1]};
  if constexpr (sizeof(T) == 4) {
    const auto bits = [](float x) { return __float_as_uint(x); };
    const unsigned left[4] = {bits(a[g * 8 + t]), bits(a[(g + 8) * 8 + t]), bits(a[g * 8 + t + 4]),
                              bits(a[(g + 8) * 8 + t + 4])};
    const unsigned right[2] = {bits(b[g * 8 + t]), bits(b[g * 8 + t + 4])};
    simt::multiply_fragments<T>(sum, left, right);
  } else if constexpr (kDepth == 8) {
    const unsigned left[2] = {pack(a + g * 8 + 2 * t), pack(a + (g + 8) * 8 + 2 * t)};
    simt::multiply_half_8(sum, left, pack(b + g * 8 + 2 * t));
  } else {
    const unsigned left[4] = {pack(a + g * 16 + 2 * t), pack(a + (g + 8) * 16 + 2 * t), pack(a + g * 16 + 2 * t + 8),
                              pack(a + (g + 8) * 16 + 2 * t + 8)};
    const unsigned right[2] = {pack(b + g * 16 + 2 * t), pack(b + g * 16 + 2 * t + 8)};
    simt::multiply_fragments<T>(sum, left, right);
  }
  d[g * 8 + 2 * t] = sum[0], d[g * 8 + 2 * t + 1] = sum[1];
  d[(g + 8) * 8 + 2 * t] = sum[2], d[(g + 8) * 8 + 2 * t + 1] = sum[3];
}

template <class T>
std::vector<T> rounded(const std::vector<float>& x) {
  std::vector<T> y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) y[i] = from_float<T>(sizeof(T) == 4 ? round_to_tf32(x[i]) : x[i]);
  return y;
}

template <class T, int kDepth>
void check_product(const std::vector<float>& a_floats, const std::vector<float>& b_floats) {
  const std::vector<T> a = rounded<T>(a_floats), b = rounded<T>(b_floats);
  const std::vector<float> c = random_floats(128, 3);
  const GuardedBuffer<T> device_a(a), device_b(b);
  GuardedBuffer<float> d(c);
  simt::launch(product_kernel<T, kDepth>, {.grid = dim3(1), .block = dim3(32)}, device_a.data(), device_b.data(),
               d.data());
  std::vector<double> expected(128);
  for (int i = 0; i < 128; ++i) {
    expected[i] = c[i];
    for (int k = 0; k < kDepth; ++k)
      expected[i] += double(to_float(a[i / 8 * kDepth + k])) * double(to_float(b[i % 8 * kDepth + k]));
  }
  CHECK(difference(d.download(), expected, 1e-6, 1e-6) == "");
}

// Random matrices, and each element of a alone against a b that tells all columns and depths apart.
template <class T, int kDepth>
void check_products() {
  check_product<T, kDepth>(random_floats(16 * kDepth, 1), random_floats(8 * kDepth, 2));
  std::vector<float> b(8 * kDepth);
  for (std::size_t i = 0; i < b.size(); ++i) b[i] = float(i + 1);
  for (int i = 0; i < 16 * kDepth; ++i) {
    std::vector<float> a(16 * kDepth);
    a[i] = 1;
    check_product<T, kDepth>(a, b);
  }
}

// r [kCount, 32] = what each lane gets of matrices [kCount, 8, 8].
template <simt::MatrixOrder kOrder, int kCount>
__global__ void load_kernel(const std::uint16_t* matrices, unsigned* r) {
  __shared__ uint4 rows[32];
  const int lane = int(threadIdx.x);
  if (lane < 8 * kCount) memcpy(&rows[lane], matrices + 8 * lane, sizeof rows[lane]);
  __syncthreads();
  unsigned got[kCount];
  simt::load_matrices<kOrder>(got, &rows[lane % (8 * kCount)]);
  for (int i = 0; i < kCount; ++i) r[i * 32 + lane] = got[i];
}

template <simt::MatrixOrder kOrder, int kCount>
void check_load() {
  std::vector<std::uint16_t> matrices(64 * kCount);
  for (std::size_t i = 0; i < matrices.size(); ++i) matrices[i] = static_cast<std::uint16_t>(i * 257 + 3);
  const GuardedBuffer<std::uint16_t> device(matrices);
  GuardedBuffer<unsigned> r(32 * kCount);
  simt::launch(load_kernel<kOrder, kCount>, {.grid = dim3(1), .block = dim3(32)}, device.data(), r.data());
  const std::vector<unsigned> got = r.download();
  for (int i = 0; i < 32 * kCount; ++i) {
    const int matrix = i / 32, g = i % 32 / 4, t = i % 4;
    const auto at = [&](int row, int column) { return unsigned(matrices[matrix * 64 + row * 8 + column]); };
    const bool transposed = kOrder == simt::MatrixOrder::transposed;
    const unsigned expected =
        transposed ? at(2 * t, g) | at(2 * t + 1, g) << 16 : at(g, 2 * t) | at(g, 2 * t + 1) << 16;
    CHECK(got[i] == expected);
  }
}

}  // namespace

TEST_CASE("tensor core: products of tf32 agree with double in every position") {
  if (has_tensor_cores_for(Precision::tf32)) check_products<float, 8>();
}

TEST_CASE("tensor core: products of bf16 agree with double in every position") {
  if (has_tensor_cores_for(Precision::bf16)) check_products<bfloat16, 16>();
}

TEST_CASE("tensor core: products of fp16 agree with double in every position") {
  check_products<half, 16>();
  check_products<half, 8>();
}

TEST_CASE("tensor core: tf32 reads no more than its own 19 bits") {
  if (!has_tensor_cores_for(Precision::tf32)) return;
  std::vector<float> a = rounded<float>(random_floats(128, 1)), b = rounded<float>(random_floats(64, 2)), noisy = a;
  for (float& x : noisy) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    bits |= 0x1FFF;
    std::memcpy(&x, &bits, sizeof bits);
  }
  const auto product = [&](const std::vector<float>& left) {
    const GuardedBuffer<float> device_a(left), device_b(b);
    GuardedBuffer<float> d(std::vector<float>(128, 0.0f));
    simt::launch(product_kernel<float, 8>, {.grid = dim3(1), .block = dim3(32)}, device_a.data(), device_b.data(),
                 d.data());
    return d.download();
  };
  CHECK(product(noisy) == product(a));
}

TEST_CASE("tensor core: one, two and four matrices leave shared memory, as stored and transposed") {
  check_load<simt::MatrixOrder::as_stored, 1>();
  check_load<simt::MatrixOrder::as_stored, 2>();
  check_load<simt::MatrixOrder::as_stored, 4>();
  check_load<simt::MatrixOrder::transposed, 1>();
  check_load<simt::MatrixOrder::transposed, 2>();
  check_load<simt::MatrixOrder::transposed, 4>();
}
