// Products of tf32, fp16 and bf16 against plain loops in double on the rounded operands: every transpose, every tile,
// odd and prime sizes, tile edges, rows that miss alignment, between guard zones.
#include "kernels/gemm_tensor_core.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "kernels/require.h"
#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/narrow.h"
#include "tests/support/reference/gemm.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

constexpr Transpose kNo = Transpose::no, kYes = Transpose::yes;

struct NarrowProblem {
  GemmShape shape;
  TensorCoreMethod method = TensorCoreMethod::tensor_cores;
  Transpose transpose_a = Transpose::no, transpose_b = Transpose::no;
  GemmEpilogue epilogue = {};
  bool with_bias = false, with_workspace = false;
  index_t workspace_at_most = INT64_MAX;
  std::size_t offset = 0;  // elements by which the operands miss 16-byte alignment
};

// The cpu build multiplies every format, a GPU those of its tensor cores.
template <class T>
bool can_multiply(TensorCoreMethod method) {
  return (simt::kEmulated && method == TensorCoreMethod::fastest) || has_tensor_cores_for(kPrecisionOf<T>);
}

struct Compared {
  std::vector<float> c;
  std::vector<double> of_rounded, exact;  // the product of the rounded operands, and of those before rounding
};

template <class In, class Out>
Compared run(const NarrowProblem& p) {
  const GemmShape& s = p.shape;
  const auto count = [](index_t rows, index_t columns) { return std::size_t(rows * columns); };
  const std::vector<float> a_floats = random_floats(count(s.m, s.k) + p.offset, 1);
  const std::vector<float> b_floats = random_floats(count(s.k, s.n) + p.offset, 2);
  const std::vector<In> a = rounded<In>(a_floats), b = rounded<In>(b_floats);
  const std::vector<Out> c = rounded<Out>(random_floats(count(s.m, s.n), 3));
  GemmEpilogue epilogue = p.epilogue;
  const index_t biases = epilogue.bias_axis == BiasAxis::row ? s.m : s.n;
  const std::vector<float> bias = random_floats(p.with_bias ? std::size_t(biases) : 0, 4);
  const GuardedBuffer<In> device_a(a), device_b(b);
  const GuardedBuffer<float> device_bias(bias);
  GuardedBuffer<Out> device_c(c.size());
  if (epilogue.beta != 0) device_c.upload(c);
  if (p.with_bias) epilogue.bias = device_bias.data();
  const index_t wanted = gemm_tensor_core_workspace_floats(s, p.method);
  const index_t scratch_floats = p.with_workspace ? std::min(wanted, p.workspace_at_most) : 0;
  GuardedBuffer<float> scratch{std::size_t(scratch_floats)};
  gemm_tensor_core(s, p.transpose_a, p.transpose_b, device_a.data() + p.offset, device_b.data() + p.offset,
                   device_c.data(), epilogue, nullptr, {scratch_floats == 0 ? nullptr : scratch.data(), scratch_floats},
                   p.method);
  CHECK(device_c.guards_intact());
  CHECK(scratch.guards_intact());
  const auto reference = [&](const std::vector<float>& left, const std::vector<float>& right) {
    return gemm_reference(s, p.transpose_a, p.transpose_b, left, right, floats(c), bias, epilogue).value;
  };
  const auto tail = [&](const std::vector<float>& x) {
    return std::vector<float>(x.begin() + std::ptrdiff_t(p.offset), x.end());
  };
  return {floats(device_c.download()), reference(floats(a, p.offset), floats(b, p.offset)),
          reference(tail(a_floats), tail(b_floats))};
}

// Beside the double product of the same rounded operands only the sums in fp32 err (and C's own format); beside that of
// the operands as they were, the format does.
template <class In, class Out = float>
void check(const NarrowProblem& p) {
  if (!can_multiply<In>(p.method)) return;
  INFO("m ", p.shape.m, ", n ", p.shape.n, ", k ", p.shape.k, ", method ", int(p.method), ", transposed ",
       p.transpose_a == kYes, p.transpose_b == kYes, ", offset ", p.offset);
  const Compared result = run<In, Out>(p);
  const double of_c = sizeof(Out) == 4 ? 0 : kPrecisionOf<Out> == Precision::fp16 ? 0x1p-11 : 0x1p-8;
  CHECK(norm_error(result.c, result.of_rounded) < 2e-6 + 2 * of_c);
  CHECK(norm_error(result.c, result.exact) < (kPrecisionOf<In> == Precision::tf32 ? 1e-3 : 1e-2));
}

template <class In, class Out = float>
void check_transposes(NarrowProblem p) {
  for (p.transpose_a = kNo;; p.transpose_a = kYes) {
    for (p.transpose_b = kNo;; p.transpose_b = kYes) {
      check<In, Out>(p);
      if (p.transpose_b == kYes) break;
    }
    if (p.transpose_a == kYes) break;
  }
}

void check_formats(const NarrowProblem& p) {
  check_transposes<float>(p);
  check_transposes<half>(p);
  check_transposes<bfloat16>(p);
}

}  // namespace

TEST_CASE("gemm_tensor_core: small sizes, aligned and not, in every format and transpose") {
  for (const GemmShape& shape : {GemmShape{1, 1, 1}, {3, 5, 7}, {8, 8, 8}, {16, 24, 32}, {17, 31, 13}, {7, 64, 40}}) {
    check_formats({.shape = shape});
  }
}

TEST_CASE("gemm_tensor_core: sizes around the small tile") {
  for (const GemmShape& shape : {GemmShape{63, 65, 31}, {64, 64, 32}, {65, 63, 33}, {72, 56, 40}, {67, 61, 97}}) {
    check_formats({.shape = shape, .method = TensorCoreMethod::small_tiles});
  }
}

TEST_CASE("gemm_tensor_core: sizes around the large tile") {
  for (const GemmShape& shape : {GemmShape{128, 128, 32}, {136, 120, 104}, {127, 129, 63}}) {
    check_formats({.shape = shape, .method = TensorCoreMethod::large_tiles});
  }
}

TEST_CASE("gemm_tensor_core: k of every number of steps and every remainder of the first") {
  for (const index_t k : {8, 16, 24, 32, 40, 64, 72, 96, 104, 136, 168}) {
    check<float>({.shape = {16, 24, k}, .transpose_b = kYes});
    check<half>({.shape = {16, 24, k}, .transpose_b = kYes});
    check<half>({.shape = {16, 24, k + 1}, .transpose_a = kYes});
    check<float>({.shape = {16, 24, k + 3}, .transpose_a = kYes});
  }
}

TEST_CASE("gemm_tensor_core: steps that pass through registers, for hardware without cp.async") {
  for (const GemmShape& shape : {GemmShape{128, 128, 32}, {136, 120, 104}, {41, 7, 19}}) {
    check_transposes<half>({.shape = shape, .method = TensorCoreMethod::staged_tiles});
  }
}

TEST_CASE("gemm_tensor_core: operands that miss 16-byte alignment") {
  for (const std::size_t offset : {std::size_t(1), std::size_t(3)}) {
    check_transposes<half>({.shape = {40, 72, 48}, .offset = offset});
    check_transposes<float>({.shape = {40, 72, 48}, .offset = offset});
  }
}

TEST_CASE("gemm_tensor_core: k split over blocks equals the unsplit product") {
  const GemmShape shape{40, 48, 1000};
  const index_t floats = gemm_tensor_core_workspace_floats(shape, TensorCoreMethod::tensor_cores);
  REQUIRE(floats > 0);
  for (const index_t at_most : {floats, index_t(40 * 48 * 2 + 5), index_t(0)}) {
    NarrowProblem p{.shape = shape, .with_bias = true, .with_workspace = true, .workspace_at_most = at_most};
    p.epilogue = {.alpha = 0.5f, .beta = 2.0f};
    check<half, half>(p);
    p.transpose_a = p.transpose_b = kYes;
    check<float>(p);
  }
}

TEST_CASE("gemm_tensor_core: alpha, beta, bias and activation, C in fp32 and in 16 bits") {
  for (const BiasAxis axis : {BiasAxis::row, BiasAxis::column}) {
    for (const Activation activation : {Activation::none, Activation::relu, Activation::leaky_relu, Activation::gelu,
                                        Activation::sigmoid, Activation::tanh}) {
      for (const TensorCoreMethod method : {TensorCoreMethod::fastest, TensorCoreMethod::tensor_cores}) {
        NarrowProblem p{.shape = {33, 44, 24}, .method = method, .with_bias = true};
        p.epilogue = {.alpha = -0.75f, .beta = 0.5f, .bias_axis = axis, .activation = activation, .leaky_slope = 0.2f};
        check<float>(p);
        check<half, half>(p);
        check<bfloat16, bfloat16>(p);
        check<bfloat16>(p);
      }
    }
  }
}

TEST_CASE("gemm_tensor_core: the fastest way of this build, large and small") {
  for (const GemmShape& shape : {GemmShape{1, 10, 84}, {128, 10, 500}, {61, 97, 203}, {129, 257, 65}, {8, 8, 1031}}) {
    check_formats({.shape = shape, .method = TensorCoreMethod::fastest, .with_workspace = true});
    check_transposes<half, half>({.shape = shape, .method = TensorCoreMethod::fastest});
  }
}

TEST_CASE("gemm_tensor_core: a residual before the activation, and the sums of A's rows beside the product") {
  for (const TensorCoreMethod method : {TensorCoreMethod::fastest, TensorCoreMethod::tensor_cores}) {
    for (const Transpose transpose : {kNo, kYes}) {
      const GemmShape shape{.m = 77, .n = 40, .k = 67};
      const std::vector<half> a = rounded<half>(random_floats(77 * 67, 1)),
                              b = rounded<half>(random_floats(67 * 40, 2));
      const std::vector<float> residual = random_floats(77 * 40, 3);
      const GuardedBuffer<half> device_a(a), device_b(b);
      const GuardedBuffer<float> device_residual(residual);
      GuardedBuffer<float> c(77 * 40), sums(77);
      const GemmEpilogue epilogue{
          .residual = device_residual.data(), .activation = Activation::relu, .row_sums = sums.data()};
      gemm_tensor_core(shape, transpose, kNo, device_a.data(), device_b.data(), c.data(), epilogue, nullptr, {},
                       method);
      GemmEpilogue added{.beta = 1.0f, .activation = Activation::relu};
      const auto expected = gemm_reference(shape, transpose, kNo, floats(a), floats(b), residual, {}, added);
      CHECK(norm_error(c.download(), expected.value) < 2e-6);
      const auto ones = gemm_reference({77, 1, 67}, transpose, kNo, floats(a), std::vector<float>(67, 1.0f),
                                       std::vector<float>(77), {}, {});
      CHECK(norm_error(sums.download(), ones.value) < 2e-6);
      CHECK(sums.guards_intact());
    }
  }
}

TEST_CASE("gemm_tensor_core: the same bits every time") {
  const NarrowProblem p{.shape = {70, 66, 520}, .with_workspace = true};
  CHECK(run<half, float>(p).c == run<half, float>(p).c);
}

TEST_CASE("gemm_tensor_core: an empty k leaves beta C + bias, an empty C is left alone") {
  check<half>({.shape = {3, 5, 0}, .epilogue = {.beta = 2.0f}, .with_bias = true});
  const half* none = nullptr;
  float* c = nullptr;
  CHECK_NOTHROW(gemm_tensor_core({.m = 0, .n = 4, .k = 4}, kNo, kNo, none, none, c, {}, nullptr));
}

TEST_CASE("gemm_tensor_core: a format that the device does not have is refused with the fix") {
  if (has_tensor_cores_for(Precision::bf16)) return;
  const GuardedBuffer<bfloat16> a(rounded<bfloat16>(random_floats(64, 1)));
  GuardedBuffer<float> c(64);
  CHECK_THROWS_AS(gemm_tensor_core({.m = 8, .n = 8, .k = 8}, kNo, kNo, a.data(), a.data(), c.data(), {}, nullptr),
                  InvalidArgument);
}
