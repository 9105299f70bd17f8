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
  bool with_bias = false, with_residual = false, with_row_sums = false;
  bool with_workspace = false, with_arrivals = false;
  kernels::index_t workspace_at_most = INT64_MAX;  // floats
  Maker maker = Maker::ours;
  std::size_t offset = 0;  // floats by which all matrices miss 16-byte alignment
};

// A workspace between guard zones, with or without the counters of a last arrival.
class GuardedWorkspace {
 public:
  GuardedWorkspace(kernels::index_t floats, bool with_arrivals)
      : data_(std::size_t(floats)),
        arrivals_(std::vector<unsigned>(with_arrivals ? std::size_t(kernels::kArrivals) : 0, 0u)) {}

  kernels::Workspace get() {
    const auto floats = kernels::index_t(data_.size());
    return {floats == 0 ? nullptr : data_.data(), floats, arrivals_.size() == 0 ? nullptr : arrivals_.data()};
  }
  bool intact() const {  // and ready for the next launch
    const std::vector<unsigned> counters = arrivals_.download();
    const bool zero = std::all_of(counters.begin(), counters.end(), [](unsigned count) { return count == 0; });
    return data_.guards_intact() && arrivals_.guards_intact() && zero;
  }

 private:
  GuardedBuffer<float> data_;
  GuardedBuffer<unsigned> arrivals_;
};

// The operands and results of a problem on the device, between guard zones. Where beta is 0, C is NaN.
class GemmOnDevice {
 public:
  explicit GemmOnDevice(const GemmProblem& problem)
      : problem_(problem),
        a_(random(problem.shape.m * problem.shape.k, 1)),
        b_(random(problem.shape.k * problem.shape.n, 2)),
        c_(random(problem.shape.m * problem.shape.n, 3)),
        residual_(random(problem.with_residual ? problem.shape.m * problem.shape.n : 0, 5)),
        bias_(problem.with_bias ? random_floats(bias_size(), 4) : std::vector<float>()),
        device_a_(a_),
        device_b_(b_),
        device_bias_(bias_),
        device_residual_(residual_),
        device_c_(c_.size()),
        row_sums_(problem.with_row_sums ? std::size_t(problem.shape.m) : 0) {
    if (problem.epilogue.beta != 0) device_c_.upload(c_);
  }

  kernels::GemmCall call() {
    kernels::GemmEpilogue epilogue = problem_.epilogue;
    if (problem_.with_bias) epilogue.bias = device_bias_.data();
    if (problem_.with_residual) epilogue.residual = device_residual_.data() + problem_.offset;
    if (problem_.with_row_sums) epilogue.row_sums = row_sums_.data();
    return {.shape = problem_.shape,
            .transpose_a = problem_.transpose_a,
            .transpose_b = problem_.transpose_b,
            .a = device_a_.data() + problem_.offset,
            .b = device_b_.data() + problem_.offset,
            .c = device_c_.data() + problem_.offset,
            .epilogue = epilogue};
  }

  std::vector<float> result() const { return tail(device_c_.download()); }

  // "" when what has been computed agrees with the double reference.
  std::string mismatch() const {
    if (!device_c_.guards_intact() || !row_sums_.guards_intact()) return "broken guard";
    const std::string rows = row_sum_mismatch();
    if (!rows.empty()) return rows;
    kernels::GemmEpilogue epilogue = problem_.epilogue;
    std::vector<float> added = tail(c_);  // beta C + residual
    if (problem_.with_residual) {
      for (std::size_t i = 0; i < added.size(); ++i) added[i] = epilogue.beta * added[i] + tail(residual_)[i];
      epilogue.beta = 1.0f;
    }
    return gemm_difference(problem_.shape, tail(device_c_.download()),
                           gemm_reference(problem_.shape, problem_.transpose_a, problem_.transpose_b, tail(a_),
                                          tail(b_), added, bias_, epilogue));
  }

 private:
  std::vector<float> random(kernels::index_t count, unsigned seed) const {
    return random_floats(std::size_t(count) + problem_.offset, seed);
  }
  std::vector<float> tail(std::vector<float> values) const {
    values.erase(values.begin(), values.begin() + std::ptrdiff_t(problem_.offset));
    return values;
  }
  std::size_t bias_size() const {
    return std::size_t(problem_.epilogue.bias_axis == kernels::BiasAxis::row ? problem_.shape.m : problem_.shape.n);
  }
  std::string row_sum_mismatch() const {
    if (!problem_.with_row_sums) return "";
    const kernels::GemmShape column{problem_.shape.m, 1, problem_.shape.k};
    const std::vector<float> ones(std::size_t(problem_.shape.k), 1.0f), none(std::size_t(problem_.shape.m));
    const std::string difference = gemm_difference(
        column, row_sums_.download(),
        gemm_reference(column, problem_.transpose_a, kernels::Transpose::no, tail(a_), ones, none, {}, {}));
    return difference.empty() ? "" : "row sum " + difference;
  }

  GemmProblem problem_;
  std::vector<float> a_, b_, c_, residual_, bias_;
  GuardedBuffer<float> device_a_, device_b_, device_bias_, device_residual_, device_c_, row_sums_;
};

// Runs the problem between guard zones; "" when the result agrees with the double reference.
inline std::string mismatch(const GemmProblem& problem) {
  using namespace kernels;
  GemmOnDevice device(problem);
  const GemmCall call = device.call();
  const bool ours = problem.maker == Maker::ours;
  const index_t wanted =
      ours ? gemm_workspace_floats(call.shape, problem.tile) : vendor::gemm_workspace_floats(call.shape);
  GuardedWorkspace workspace(problem.with_workspace ? std::min(wanted, problem.workspace_at_most) : 0,
                             problem.with_arrivals);
  if (ours) {
    gemm(call.shape, call.transpose_a, call.transpose_b, call.a, call.b, call.c, call.epilogue, nullptr,
         workspace.get(), problem.tile);
  } else {
    vendor::gemm(call.shape, call.transpose_a, call.transpose_b, call.a, call.b, call.c, call.epilogue, nullptr,
                 workspace.get());
  }
  if (!workspace.intact()) return "broken workspace";
  return device.mismatch();
}

// Two problems in one call; "" when both agree.
inline std::string mismatch_of_pair(const GemmProblem& first, const GemmProblem& second) {
  GemmOnDevice one(first), two(second);
  const kernels::GemmCall call_one = one.call(), call_two = two.call();
  const kernels::index_t wanted = kernels::gemm_pair_workspace_floats(call_one, call_two, first.tile);
  GuardedWorkspace workspace(first.with_workspace ? std::min(wanted, first.workspace_at_most) : 0, first.with_arrivals);
  kernels::gemm_pair(call_one, call_two, nullptr, workspace.get(), first.tile);
  if (!workspace.intact()) return "broken workspace";
  const std::string difference = one.mismatch();
  return difference.empty() ? two.mismatch() : "first: " + difference;
}

}  // namespace espalier::test
