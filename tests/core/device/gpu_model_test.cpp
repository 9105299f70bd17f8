// The model's terms by hand, and where it must fail.
#include "core/device/gpu_model.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "kernels/shapes.h"

namespace espalier {
namespace {

double term(const ModelledTime& time, Bound bound) { return time.terms_us[std::size_t(bound)]; }

TEST_CASE("gpu_model: peaks follow from the datasheet") {
  CHECK(gpu_model("a100").fp32_tflops() == doctest::Approx(19.5).epsilon(0.01));
  CHECK(gpu_model("4090").fp32_tflops() == doctest::Approx(82.6).epsilon(0.01));
  CHECK(gpu_model("t4").fp32_tflops() == doctest::Approx(8.1).epsilon(0.01));
}

TEST_CASE("gpu_model: a large product is bound by fp32, a copy by dram, an empty kernel by the floor") {
  const kernels::GemmShape gemm{4096, 4096, 4096};
  const ModelledTime product = modelled_time(gpu_model("a100"), ideal_work(double(gemm.flops()), double(gemm.bytes())));
  CHECK(product.bound == Bound::fp32);
  CHECK(product.us == doctest::Approx(137.4e9 / 19.49e6 + kGraphNodeFloorUs).epsilon(0.001));
  const ModelledTime copy = modelled_time(gpu_model("t4"), ideal_work(0, 320e6));
  CHECK(copy.bound == Bound::dram);
  CHECK(copy.us == doctest::Approx(1000 + kGraphNodeFloorUs));
  CHECK(modelled_time(gpu_model("h100"), {}).bound == Bound::floor);
}

TEST_CASE("gpu_model: each pipe has its own rate") {
  KernelWork work;
  work.warp_instructions = 4e6, work.fp32_warp_instructions = 2e6, work.l1_wavefronts = 1e6;
  const ModelledTime a100 = modelled_time(gpu_model("a100"), work), t4 = modelled_time(gpu_model("t4"), work);
  CHECK(term(a100, Bound::issue) == doctest::Approx(1e6 / 108 / 1410));
  CHECK(term(a100, Bound::fp32) == doctest::Approx(1e6 / 108 / 1410));
  CHECK(term(a100, Bound::l1) == doctest::Approx(1e6 / 108 / 1410));
  CHECK(term(t4, Bound::l1) == doctest::Approx(2e6 / 40 / 1590));  // 64 bytes a cycle
  CHECK(t4.bound == Bound::l1);
}

TEST_CASE("gpu_model: the fullest multiprocessor decides") {
  KernelWork work;
  work.warp_instructions = 4e6;
  const auto issue_us = [&](double blocks) {
    work.blocks = blocks;
    return term(modelled_time(gpu_model("a100"), work), Bound::issue);
  };
  CHECK(issue_us(1) == doctest::Approx(108 * issue_us(108)));
  CHECK(issue_us(109) == doctest::Approx(issue_us(108) * 2 * 108 / 109));
  CHECK(issue_us(0) == doctest::Approx(issue_us(108)));
}

TEST_CASE("gpu_model: models are found by id and by the device's name") {
  CHECK(gpu_models().size() == 4);
  CHECK_THROWS_AS(gpu_model("a1000"), InvalidArgument);
  CHECK(gpu_model_of("NVIDIA A100-SXM4-80GB") == &gpu_model("a100"));
  CHECK(gpu_model_of("NVIDIA GeForce RTX 4090") == &gpu_model("4090"));
  CHECK(gpu_model_of("Tesla T4") == &gpu_model("t4"));
  CHECK(gpu_model_of("NVIDIA T400") == nullptr);
  CHECK(gpu_model_of("CPU emulation") == nullptr);
  KernelWork tensor;
  tensor.tensor_flops = 1, tensor.tensor_type = TensorType::tf32;
  CHECK_THROWS_AS(modelled_time(gpu_model("t4"), tensor), InvalidArgument);
}

}  // namespace
}  // namespace espalier
