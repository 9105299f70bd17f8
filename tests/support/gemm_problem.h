// A matrix product between guard zones against its double reference: ours or the vendor's, any tile, any alignment.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/gemm.h"
#include "kernels/vendor/blas.h"
#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/reference/gemm.h"

namespace espalier::test {

enum class Maker { ours, vendor };

struct GemmProblem {
  kernels::GemmShape shape;
  kernels::Transpose transpose_a = kernels::Transpose::no, transpose_b = kernels::Transpose::no;
  kernels::GemmEpilogue epilogue = {};
  kernels::GemmTile tile = kernels::GemmTile::automatic;
  bool with_bias = false, with_workspace = false;
  kernels::index_t workspace_at_most = INT64_MAX;  // floats
  Maker maker = Maker::ours;
  std::size_t offset = 0;  // floats by which all matrices miss 16-byte alignment
};

// Runs the problem between guard zones; "" when the result agrees with the double reference. Where beta is 0, C is NaN.
inline std::string mismatch(const GemmProblem& problem) {
  using namespace kernels;
  const GemmShape& shape = problem.shape;
  const auto random = [&](index_t count, unsigned seed) {
    return random_floats(std::size_t(count) + problem.offset, seed);
  };
  const auto tail = [&](std::vector<float> values) {
    values.erase(values.begin(), values.begin() + std::ptrdiff_t(problem.offset));
    return values;
  };
  GemmEpilogue epilogue = problem.epilogue;
  const std::vector<float> a = random(shape.m * shape.k, 1), b = random(shape.k * shape.n, 2);
  const std::vector<float> c = random(shape.m * shape.n, 3);
  const std::vector<float> bias =
      random_floats(problem.with_bias ? std::size_t(epilogue.bias_axis == BiasAxis::row ? shape.m : shape.n) : 0, 4);
  const GuardedBuffer<float> device_a(a), device_b(b), device_bias(bias);
  GuardedBuffer<float> device_c(c.size());
  if (epilogue.beta != 0) device_c.upload(c);
  if (problem.with_bias) epilogue.bias = device_bias.data();
  const bool ours = problem.maker == Maker::ours;
  const index_t wanted = ours ? gemm_workspace_floats(shape, problem.tile) : vendor::gemm_workspace_floats(shape);
  const index_t floats = problem.with_workspace ? std::min(wanted, problem.workspace_at_most) : 0;
  GuardedBuffer<float> scratch{std::size_t(floats)};
  const Workspace workspace{floats == 0 ? nullptr : scratch.data(), floats};
  const float *from_a = device_a.data() + problem.offset, *from_b = device_b.data() + problem.offset;
  float* to = device_c.data() + problem.offset;
  if (ours) {
    gemm(shape, problem.transpose_a, problem.transpose_b, from_a, from_b, to, epilogue, nullptr, workspace,
         problem.tile);
  } else {
    vendor::gemm(shape, problem.transpose_a, problem.transpose_b, from_a, from_b, to, epilogue, nullptr, workspace);
  }
  if (!device_c.guards_intact() || !scratch.guards_intact()) return "broken guard";
  return gemm_difference(
      shape, tail(device_c.download()),
      gemm_reference(shape, problem.transpose_a, problem.transpose_b, tail(a), tail(b), tail(c), bias, epilogue));
}

}  // namespace espalier::test
