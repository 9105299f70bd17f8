// A plan that is one launch: the model's own output, taken when it is the faster one, and only for networks it knows.
#include "pruning/fused_plan.h"

#include <doctest/doctest.h>

#include "layers/layers.h"
#include "layers/zoo.h"
#include "pruning/plan.h"
#include "pruning/pruner.h"
#include "tests/support/evaluated.h"

namespace espalier::pruning {
namespace {

// No clock decides: the network as a whole takes `fused_us`, layer by layer 10 us.
CompileOptions timed(double fused_us, std::vector<Candidate> candidates = {dense(), csr(), fused_network()}) {
  CompileOptions options{.candidates = std::move(candidates), .rounds = 1};
  options.timer = [fused_us](const TimedWork& work, const BenchmarkOptions&) {
    return Timing{.median_us = work.format == "fused csr" ? fused_us : work.layer == "network" ? 10.0 : 1.0};
  };
  return options;
}

void check_equal(Module& model, const Plan& plan, const Shape& shape) {
  const Tensor images = test::random_images(shape);
  CHECK(test::difference(plan(images).to_host(), test::evaluated(model, images), 1e-5, 1e-5) == "");
}

Sequential dense_net() {
  return Sequential(Flatten(), Dense(144, 60, {.seed = 1}), Relu(), Dropout(0.5), Dense(60, 30, {.seed = 2}), Tanh(),
                    Dense(30, 10, {.bias = false, .seed = 3}));
}

TEST_CASE("fused plan: one launch that equals the model, at batches below and above a block's images") {
  Sequential dense_model = dense_net();
  Sequential conv_model(Conv2d(1, 4, {.kernel = 5, .seed = 1}), MaxPool2d(2), Conv2d(4, 6, {.padding = 1, .seed = 2}),
                        Relu(), Flatten(), Dense(96, 12, {.seed = 3}), Relu(), Dense(12, 5, {.seed = 4}));
  for (Sequential* model : {&dense_model, &conv_model}) {
    Pruner(*model, {}).prune_to(0.8);
    for (const std::int64_t batch : {1, 5, 40}) {
      const Shape shape{batch, 1, 12, 12};
      const Plan plan = compile(*model, shape, timed(5.0));
      CHECK(plan.node_count() == 1);
      REQUIRE(plan.steps().size() == 1);
      CHECK(plan.steps()[0].format == "fused csr");
      CHECK(plan.steps()[0].sparsity == doctest::Approx(0.8).epsilon(0.01));
      check_equal(*model, plan, shape);
    }
  }
}

TEST_CASE("fused plan: lenet-5 and seed-cnn, whose maps no shared memory holds for a vector of images") {
  for (const char* name : {"lenet-5", "seed-cnn"}) {
    CAPTURE(name);
    Sequential model = zoo::build(name, {1, 28, 28});
    Pruner(model, {}).prune_to(0.99);
    for (const std::int64_t batch : {1, 70}) {
      const Shape shape{batch, 1, 28, 28};
      const Plan plan = compile(model, shape, timed(5.0));
      REQUIRE(plan.steps().size() == 1);
      check_equal(model, plan, shape);
    }
  }
}

TEST_CASE("fused plan: taken only where it is faster beyond noise, or asked for first") {
  Sequential model = dense_net();
  Pruner(model, {}).prune_to(0.9);
  const Shape shape{3, 1, 12, 12};
  CHECK(compile(model, shape, timed(9.0)).steps().size() == 1);
  const Plan layers = compile(model, shape, timed(9.9));
  CHECK(layers.steps().size() > 1);
  CHECK(fmt::format("{}", layers).find("one launch takes 9.9 µs, layer by layer 10.0 µs") != std::string::npos);
  CHECK(compile(model, shape, timed(1.0, {dense(), csr()})).steps().size() > 1);
  CompileOptions first = timed(20.0, {fused_network(), dense()});
  first.selection = Selection::first_format;
  const Plan plan = compile(model, shape, first);
  CHECK(plan.steps()[0].format == "fused csr");
  CHECK(fmt::format("{}", plan).find("one launch for all layers") != std::string::npos);
  check_equal(model, plan, shape);
}

TEST_CASE("fused plan: its time stands beside the dense plan's") {
  Sequential model = dense_net();
  Pruner(model, {}).prune_to(0.9);
  const Plan plan = compile(model, {3, 1, 12, 12}, timed(5.0, {dense(), fused_network()}));
  REQUIRE(plan.race().has_value());
  CHECK(plan.race()->us == 5.0);
  CHECK(plan.race()->dense_us == 10.0);
  CHECK(fmt::format("{}", plan).find("2.00x") != std::string::npos);
  CHECK(!compile(model, {3, 1, 12, 12}, timed(5.0, {csr(), fused_network()})).race());
}

TEST_CASE("fused plan: modelled for a GPU that is not here, networks in one launch are ranked, too") {
  Sequential model = dense_net();
  Pruner(model, {}).prune_to(0.95);
  CompileOptions options{.candidates = {dense(), csr(), fused_network(), compiled_network()}};
  for (const GpuModel& gpu : gpu_models()) {
    options.gpu = &gpu;
    const Plan plan = compile(model, {8, 1, 12, 12}, options);
    REQUIRE(plan.steps().size() == 1);  // three launches cost more than one
    CHECK(plan.steps()[0].us < 2.5);
    CHECK(plan.steps()[0].limit_us == plan.steps()[0].us);
    CHECK(plan.race()->dense_us > 4.5);
    CHECK(plan.timing() == fmt::format("{}, modelled", gpu.name));
    check_equal(model, plan, {8, 1, 12, 12});
  }
}

TEST_CASE("fused plan: a network that it does not know stays layer by layer, and the reason is told") {
  const auto refusal = [](Sequential model, const Shape& shape) {
    model.set_training(false);
    const Tensor x = Tensor::zeros(shape);
    const Implementation network = fuse_network(trace([&](const Variable& v) { return model(v); }, x));
    CHECK(network.function == nullptr);
    return network.not_eligible;
  };
  CHECK(refusal(Sequential(Flatten(), Dense(8, 4), BatchNorm1d(4)), {2, 8}).find("batch_norm") != std::string::npos);
  CHECK(refusal(Sequential(Residual(Sequential(Dense(8, 8)))), {2, 8}) != "");
  CHECK(refusal(Sequential(Dense(60'000, 4)), {2, 60'000}).find("shared memory") != std::string::npos);
  CHECK(refusal(Sequential(Flatten()), {2, 8}) == "its layers are no chain");
  Sequential wide(Dense(60'000, 4));
  const PlanStep step = compile(wide, {2, 60'000}, timed(1.0)).steps()[0];
  CHECK(step.layer == "dense_1");
  CHECK(step.candidates.back().note.find("shared memory") != std::string::npos);
}

}  // namespace
}  // namespace espalier::pruning
