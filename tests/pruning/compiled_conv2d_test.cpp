// A plan whose convolutions were compiled for their weights: ranked where a GPU is modelled, one clear reason where
// none can be compiled, the model's own output everywhere.
#include "pruning/compiled_conv2d.h"

#include <doctest/doctest.h>

#include "layers/layers.h"
#include "pruning/plan.h"
#include "pruning/pruner.h"
#include "tests/support/evaluated.h"

namespace espalier::pruning {
namespace {

Sequential network() {
  return Sequential(Conv2d(1, 8, {.padding = 1, .seed = 1}), Relu(), MaxPool2d(2),
                    Conv2d(8, 32, {.padding = 1, .seed = 2}), Relu(), MaxPool2d(2),
                    Conv2d(32, 16, {.stride = 2, .bias = false, .seed = 3}), Tanh(), Flatten(),
                    Dense(144, 10, {.seed = 4}));
}

const MeasuredImplementation* compiled_of(const PlanStep& step) {
  for (const MeasuredImplementation& one : step.candidates) {
    if (one.format == kCompiledConv2d) return &one;
  }
  return nullptr;
}

void check_equal(Module& model, const Plan& plan, const Shape& shape) {
  const Tensor images = test::random_images(shape);
  CHECK(test::difference(plan(images).to_host(), test::evaluated(model, images), 1e-5, 1e-5) == "");
}

TEST_CASE("compiled convolution: modelled for a GPU it beats reads of shared memory for each weight") {
  Sequential model = network();
  Pruner(model, {.scope = Scope::local}).prune_to(0.9);
  const Shape shape{1024, 1, 28, 28};
  for (const GpuModel& gpu : gpu_models()) {
    CAPTURE(gpu.name);
    CompileOptions options{.candidates = {csr(), compiled_conv2d()}, .gpu = &gpu};
    const Plan plan = compile(model, shape, options);
    const PlanStep& step = plan.steps()[1];
    CHECK(step.format == kCompiledConv2d);
    CHECK(step.implementation == "NVRTC");
    CHECK(step.launches == 1);
    CHECK(step.weight_bytes == 16 * step.nonzeros);
    REQUIRE(compiled_of(step));
    CHECK(compiled_of(step)->limit_us == compiled_of(step)->us);
    CHECK(!compiled_of(plan.steps().back()));  // a dense layer
  }
}

TEST_CASE("compiled convolution: a plan gives the model's output, or says why nothing was compiled") {
  Sequential model = network();
  Pruner(model, {.scope = Scope::local}).prune_to(0.9);
  const Shape shape{3, 1, 28, 28};
  CompileOptions options{.candidates = {compiled_conv2d(), dense()},
                         .selection = Selection::first_format,
                         .timer = [](const TimedWork&, const BenchmarkOptions&) { return Timing{.median_us = 1.0}; }};
  const Plan plan = compile(model, shape, options);
  for (const PlanStep& step : plan.steps()) {
    const MeasuredImplementation* const compiled = compiled_of(step);
    if (!compiled) continue;
    CHECK((compiled->us.has_value() || compiled->note.find("CPU has too few") != std::string::npos ||
           compiled->note.find("loads no compiled code") != std::string::npos));
  }
  check_equal(model, plan, shape);
  options.gpu = &gpu_model("4090");
  check_equal(model, compile(model, shape, options), shape);
}

TEST_CASE("compiled convolution: weights that are mostly left, and groups, are refused with the reason") {
  const auto note_of = [](Sequential model, double sparsity) {
    Pruner(model, {.scope = Scope::local}).prune_to(sparsity);
    CompileOptions options{.candidates = {dense(), compiled_conv2d()}, .gpu = &gpu_model("a100")};
    const Plan plan = compile(model, {2, 4, 12, 12}, options);
    REQUIRE(compiled_of(plan.steps()[0]));
    return compiled_of(plan.steps()[0])->note;
  };
  CHECK(note_of(Sequential(Conv2d(4, 8)), 0.125).find("12.5 % of its weights are zero") != std::string::npos);
  CHECK(note_of(Sequential(Conv2d(4, 8, {.groups = 2})), 0.75).find("groups") != std::string::npos);
}

}  // namespace
}  // namespace espalier::pruning
