// A dense layer in CSR: each arrangement is right, and each is offered where it may pay and no product loses precision.
#include <doctest/doctest.h>

#include <algorithm>

#include "core/device/precision.h"
#include "kernels/gemm_tensor_core.h"
#include "kernels/require.h"
#include "layers/dense.h"
#include "layers/sequential.h"
#include "pruning/plan.h"
#include "pruning/pruner.h"
#include "pruning/sparse_functions.h"
#include "tests/support/sparse_problems.h"

namespace espalier::pruning {
namespace {

using enum CsrArrangement;

Tensor drawn(const Shape& shape) {
  return Tensor::from(shape, std::span<const float>(test::random_floats(std::size_t(shape.size()), 5)));
}

TEST_CASE("dense, csr: every arrangement equals the dense product with zeros") {
  const std::int64_t rows = 37, columns = 150;
  const auto values = test::sparse_weight(rows, columns, 0.9, 1), bias = test::random_floats(std::size_t(rows), 2);
  const Csr csr = Csr::encode(Tensor::from({rows, columns}, std::span<const float>(values)));
  for (const std::int64_t batch : {1, 3, 70}) {
    const Tensor x = drawn({batch, columns});
    const auto expected =
        test::reference_linear(batch, rows, columns, x.to_host(), values, bias, kernels::Activation::none);
    for (const CsrArrangement one :
         {CsrArrangement::rows, pieces, fp16_pieces, bf16_pieces, panel, fp16_panel, bf16_panel, slabs, fp16_slabs,
          bf16_slabs}) {
      CAPTURE(name_of(one));
      CsrDenseFunction function(csr, batch, one);
      function.bias = Tensor::from({rows}, std::span<const float>(bias));
      Context context{.recording = false};
      const bool fp16 = name_of(one).starts_with("fp16"), bf16 = name_of(one).starts_with("bf16");
      const double rounding = bf16 ? 1e-2 : fp16 ? 1e-3 : 1e-5;
      const auto y = function.forward({x}, context).to_host();
      CHECK(test::difference(y, expected, rounding, rounding + test::sum_tolerance(columns)) == "");
      CHECK(function.bytes() > 0);
    }
  }
}

TEST_CASE("dense, csr: 16-bit values for a few samples, a 16-bit x for many, of a product that may compute so") {
  const Csr csr = Csr::encode(drawn({4, 6}));
  struct Offer {
    std::int64_t batch;
    Precision precision;
    CsrArrangement arrangement;
    bool made;
  };
  using enum Precision;
  const bool gpu = !simt::kEmulated;
  const Offer offers[] = {{1, fp16, fp16_pieces, true},  {4, bf16, bf16_pieces, true},  {5, fp16, fp16_pieces, false},
                          {1, bf16, fp16_pieces, false}, {1, fp32, fp16_pieces, false}, {1, tf32, bf16_pieces, false},
                          {1, fp32, gpu ? pieces : CsrArrangement::rows, true},
                          {16, fp32, panel, gpu},        {600, fp32, panel, gpu},       {600, fp32, slabs, gpu},
                          {9, fp16, fp16_panel, true},   {600, bf16, bf16_panel, true}, {8, fp16, fp16_panel, false},
                          {9, fp32, fp16_panel, false},  {65, fp16, fp16_slabs, true},  {600, bf16, bf16_slabs, true},
                          {64, fp16, fp16_slabs, false}, {600, fp16, bf16_slabs, false},
                          {600, fp32, fp16_slabs, false}, {600, tf32, bf16_slabs, false}};
  for (const Offer& one : offers) {
    CAPTURE(one.batch);
    CAPTURE(to_string(one.precision));
    CAPTURE(name_of(one.arrangement));
    const auto found = csr_arrangements(csr, one.batch, one.precision);
    CHECK((std::find(found.begin(), found.end(), one.arrangement) != found.end()) == one.made);
  }
}

TEST_CASE("dense, csr: an x in tf32 is refused, which would save no bytes") {
  const Csr csr = Csr::encode(drawn({4, 6}));
  const char* const why = "CSR: x is read in fp32, fp16 or bf16, not in tf32, which saves no bytes";
  CHECK_THROWS_WITH_AS(SlabCsr::encode(csr, 70, Precision::tf32), why, InvalidArgument);
  CHECK_THROWS_WITH_AS(ResidentCsr::encode(csr, 70, Precision::tf32), why, InvalidArgument);
}

// Half of what reading x costs, where shared memory is the limit; on a CPU no choice, but for the model of a GPU.
TEST_CASE("plan: a 16-bit x is modelled at half the reads, and measured where there is a GPU") {
  Sequential model(Dense(2048, 2048, {.seed = 1}));
  Pruner(model, {}).prune_to(0.9);
  const PrecisionScope scope(Precision::fp16);  // which every GPU has
  const auto candidate = [&](const CompileOptions& options, const std::string& library) {
    const Plan plan = compile(model, {256, 2048}, options);
    const std::vector<MeasuredImplementation>& candidates = plan.steps()[0].candidates;
    const auto found = std::find_if(candidates.begin(), candidates.end(),
                                    [&](const auto& one) { return one.library == library; });
    REQUIRE(found != candidates.end());
    return *found;
  };
  CompileOptions modelled{.candidates = {csr()}, .gpu = &gpu_model("4090")};
  const auto narrow = candidate(modelled, "handwritten fp16 slabs");
  REQUIRE(narrow.us.has_value());
  if (!simt::kEmulated) return;  // measuring there takes an emulator of PTX minutes
  CHECK(*narrow.us < 0.6 * *candidate(modelled, "handwritten").us);
  const CompileOptions measured{.candidates = {csr()},
                                .timing = {.warmup = 0, .min_repeats = 1, .max_repeats = 1, .budget_ms = 0},
                                .rounds = 1};
  const auto here = candidate(measured, "handwritten fp16 slabs");
  CHECK_FALSE(here.us.has_value());
  CHECK(here.note == "16 bits of x save reads of a GPU's shared memory, and none here");
}

TEST_CASE("plan: explain lists 16-bit values beside the dense product of that precision") {
  if (!kernels::has_tensor_cores_for(Precision::fp16)) return;
  Sequential model(Dense(70, 50, {.seed = 1}));
  Pruner(model, {}).prune_to(0.9);
  const PrecisionScope scope(Precision::fp16);
  const Plan plan = compile(model, {1, 70},
                            {.candidates = {dense(), csr()},
                             .timing = {.warmup = 0, .min_repeats = 1, .max_repeats = 1, .budget_ms = 0},
                             .rounds = 1});
  const std::vector<MeasuredImplementation>& candidates = plan.steps()[0].candidates;
  const auto narrow = std::find_if(candidates.begin(), candidates.end(),
                                   [](const auto& one) { return one.library == "handwritten fp16 pieces"; });
  REQUIRE(narrow != candidates.end());
  CHECK(narrow->us.has_value());
  CHECK(narrow->weight_bytes < 70 * 50 * 2);
}

}  // namespace
}  // namespace espalier::pruning
