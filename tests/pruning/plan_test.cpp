// A plan gives the model's own output, whatever it chose; it says what and why; it never allocates after compile().
#include "pruning/plan.h"

#include <doctest/doctest.h>

#include <map>

#include "core/device/stream.h"
#include "kernels/require.h"
#include "layers/activation.h"
#include "layers/batch_norm.h"
#include "layers/conv2d.h"
#include "layers/dense.h"
#include "layers/dropout.h"
#include "layers/flatten.h"
#include "layers/pool2d.h"
#include "layers/residual.h"
#include "layers/sequential.h"
#include "pruning/pruner.h"
#include "pruning/sparse_functions.h"
#include "tests/support/evaluated.h"

namespace espalier::pruning {
namespace {

using test::evaluated;
using test::random_images;

const CompileOptions kQuick{.timing = {.warmup = 0, .min_repeats = 1, .max_repeats = 1, .budget_ms = 0}, .rounds = 1};

CompileOptions only(std::vector<Candidate> candidates) {
  CompileOptions options = kQuick;
  options.candidates = std::move(candidates);
  return options;
}

Sequential small_cnn() {
  return Sequential(Conv2d(1, 8, {.seed = 1}), Relu(), MaxPool2d(2), Conv2d(8, 12, {.padding = 1, .seed = 2}), Relu(),
                    Flatten(), Dense(12 * 5 * 5, 20, {.seed = 3}), Relu(), Dropout(0.5), Dense(20, 10, {.seed = 4}));
}

void check_equal(Module& model, const Plan& plan, const Shape& shape) {
  for (const unsigned seed : {5u, 6u}) {  // the second call meets buffers that were used
    const Tensor images = random_images(shape, seed);
    CHECK(test::difference(plan(images).to_host(), evaluated(model, images), 1e-4, 1e-5) == "");
  }
}

TEST_CASE("plan: equals the model in evaluation mode, whatever candidates and batch") {
  Sequential model = small_cnn();
  Pruner(model, {}).prune_to(0.8);
  for (const std::int64_t batch : {1, 7}) {
    const Shape shape{batch, 1, 12, 12};
    check_equal(model, compile(model, shape, kQuick), shape);
    check_equal(model, compile(model, shape, only({dense()})), shape);
    check_equal(model, compile(model, shape, only({csr()})), shape);
  }
}

TEST_CASE("plan: each sparse format is used where it alone may be, and is right") {
  Sequential model(Dense(37, 24, {.seed = 1}), Relu(), Dense(24, 5, {.bias = false, .seed = 2}));
  Pruner(model, {.pattern = n_of_m(2, 4, RaggedRows::shorter_run)}).prune_to(0.5);
  const Shape shape{9, 37};
  const Plan two_four_plan = compile(model, shape, only({two_four()}));
  CHECK(two_four_plan.steps()[0].format == "2:4");
  check_equal(model, two_four_plan, shape);
  auto* const weight = model.parameters()[0];
  Tensor keep = Tensor::zeros(weight->value.shape(), DType::u8);
  weight->set_mask({keep});
  const Plan blocks = compile(model, shape, only({block_csr(8, 8)}));
  CHECK(blocks.steps()[0].format == "block csr 8x8");
  check_equal(model, blocks, shape);
}

TEST_CASE("plan: keeps every candidate's time or the reason why it has none") {
  Sequential model = small_cnn();
  Pruner(model, {}).prune_to(0.8);
  const Plan plan = compile(model, {2, 1, 12, 12}, kQuick);
  const PlanStep& conv = plan.steps()[1];
  CHECK(conv.layer == "conv2d_2");
  CHECK(plan.steps()[0].takes_in == "max_pool2d");
  CHECK(conv.candidates.size() == 6);
  for (const MeasuredImplementation& one : conv.candidates) {
    const bool vendor_product = one.format == "dense" && !simt::kEmulated;
    const bool ours = one.library == "handwritten" && (one.format == "dense" || one.format == "csr");
    CHECK(one.us.has_value() == (ours || vendor_product));
    CHECK((one.us.has_value() || !one.note.empty()));
  }
  CHECK(conv.candidates[3].note == "this library has no sparse convolution");
  const PlanStep& classifier = plan.steps().back();
  CHECK(classifier.candidates.back().note.find("groups of four hold more than two nonzeros") != std::string::npos);
  for (const PlanStep& step : plan.steps()) CHECK((step.candidates.empty() || !step.reason.empty()));
  const std::string table = fmt::format("{}", plan);
  for (const char* word : {"conv2d_1", "conv2d_2", "dense_1", "dense_2", "csr", "conv2d_1 +pool"}) {
    CHECK(table.find(word) != std::string::npos);
  }
  CHECK(plan.to_json().find("\"reason\"") != std::string::npos);
}

TEST_CASE("plan: dense products compete, or only those that were asked for") {
  Sequential model = small_cnn();
  const Plan ours = compile(model, {2, 1, 12, 12}, only({dense(Math::handwritten)}));
  for (const PlanStep& step : ours.steps()) {
    for (const MeasuredImplementation& candidate : step.candidates) CHECK(candidate.library == "handwritten");
  }
  const Plan both = compile(model, {2, 1, 12, 12}, only({dense()}));
  CHECK(both.steps().back().candidates.size() == 2);
}

TEST_CASE("plan: a pooled convolution is one step, sparse or dense, traced as a block or as layers") {
  Sequential model(Conv2d(1, 6, {.kernel = 5, .seed = 1}), MaxPool2d(2), Relu(), Conv2d(6, 8, {.seed = 2}),
                   LeakyRelu(0.2f), MaxPool2d(2), Flatten(), Dense(32, 5, {.seed = 3}));
  Pruner(model, {}).prune_to(0.7);
  const Shape shape{3, 1, 16, 16};
  for (const Math math : {Math::handwritten, Math::vendor}) {
    const MathScope scope(math);
    for (const Candidate& candidate : {dense(), csr()}) {
      const Plan plan = compile(model, shape, only({candidate}));
      REQUIRE(plan.steps().size() == 4);
      CHECK(plan.steps()[0].takes_in == "max_pool2d");
      CHECK(plan.steps()[1].layer == "conv2d_2");
      CHECK(plan.steps()[1].format == (std::holds_alternative<CsrCandidate>(candidate) ? "csr" : "dense"));
      check_equal(model, plan, shape);
    }
  }
}

// Times that a test decides: of each format, wherever it occurs.
CompileOptions timed_by(std::map<std::string, double> us) {
  CompileOptions options = kQuick;
  options.timer = [us](const TimedWork& work, const BenchmarkOptions&) {
    const auto found = us.find(work.layer == "network" ? "network, " + work.format : work.format);
    return Timing{.median_us = found == us.end() ? 1.0 : found->second};
  };
  return options;
}

TEST_CASE("plan: the fastest of each layer wins, and so does the whole") {
  Sequential model = small_cnn();
  Pruner(model, {}).prune_to(0.8);
  const Shape shape{3, 1, 12, 12};
  const Plan plan = compile(model, shape,
                            timed_by({{"dense", 50.0},
                                      {"csr", 20.0},
                                      {"block csr 8x8", 80.0},
                                      {"network, dense", 200.0},
                                      {"network, fastest of each layer", 90.0}}));
  CHECK(plan.steps()[0].format == "csr");
  CHECK(plan.steps().back().format == "csr");
  REQUIRE(plan.race().has_value());
  CHECK(plan.race()->us == 90.0);
  CHECK(!plan.race()->dense_won);
  check_equal(model, plan, shape);
}

TEST_CASE("plan: the dense plan is taken, and says so, where the whole of the fastest layers is slower") {
  Sequential model = small_cnn();
  Pruner(model, {}).prune_to(0.8);
  const Shape shape{3, 1, 12, 12};
  const Plan plan = compile(
      model, shape,
      timed_by({{"dense", 50.0}, {"csr", 20.0}, {"network, dense", 70.0}, {"network, fastest of each layer", 90.0}}));
  CHECK(plan.race()->dense_won);
  for (const PlanStep& step : plan.steps()) CHECK((step.format == "dense" || step.candidates.empty()));
  CHECK(plan.steps()[0].reason == "as a whole the dense plan is faster: 70.0 µs against 90.0 µs");
  CHECK(plan.steps()[0].us == 50.0);
  CHECK(fmt::format("{}", plan).find("the dense plan is taken") != std::string::npos);
  check_equal(model, plan, shape);
}

// Times the network as a whole out of a list, one after the other, and layers as told; the last of the list stays.
CompileOptions timed_in_turns(double csr_us, std::vector<double> dense_rounds, std::vector<double> sparse_rounds) {
  CompileOptions options = kQuick;
  options.candidates = {dense(), csr()};
  options.rounds = 2;
  const auto next = [](std::vector<double>& rounds) {
    const double us = rounds.front();
    if (rounds.size() > 1) rounds.erase(rounds.begin());
    return us;
  };
  options.timer = [=](const TimedWork& work, const BenchmarkOptions&) mutable {
    double us = work.format == "csr" ? csr_us : 50.0;
    if (work.layer == "network") us = next(work.format == "dense" ? dense_rounds : sparse_rounds);
    return Timing{.median_us = us};
  };
  return options;
}

TEST_CASE("plan: a slow moment of the machine costs no layer its format, and within noise dense is taken") {
  Sequential model = small_cnn();
  Pruner(model, {}).prune_to(0.8);
  const Shape shape{3, 1, 12, 12};
  const Plan moment = compile(model, shape, timed_in_turns(20.0, {100.0}, {200.0, 80.0}));
  CHECK(moment.steps()[0].format == "csr");
  CHECK(moment.race()->us == 80.0);
  CHECK(moment.race()->dense_us == 100.0);
  const Plan drifting = compile(model, shape, timed_in_turns(20.0, {100, 200, 300, 400}, {80, 160, 240, 320}));
  CHECK(drifting.steps()[0].format == "csr");
  const Plan same = compile(model, shape, timed_in_turns(20.0, {100.0}, {101.0, 99.0, 101.0, 99.0}));
  CHECK(same.steps()[0].format == "dense");
  CHECK(same.steps()[0].reason.find("less than 2 % faster, which is noise") != std::string::npos);
  CHECK(same.race()->dense_won);
  CHECK(compile(model, shape, timed_in_turns(20.0, {100.0}, {103.0})).steps()[0].format == "dense");
}

TEST_CASE("plan: where dense is faster as a whole, the layers that gain much are tried alone") {
  Sequential model = small_cnn();
  Pruner(model, {}).prune_to(0.8);
  const Shape shape{3, 1, 12, 12};
  CompileOptions options = kQuick;
  options.candidates = {dense(), csr()};
  bool asked = false;
  double mixed_us = 90.0;
  options.timer = [&](const TimedWork& work, const BenchmarkOptions&) {
    if (work.layer != "network") {
      return Timing{.median_us = work.format != "csr" ? 50.0 : work.layer == "dense_1" ? 20.0 : 45.0};
    }
    if (work.format == "dense") return Timing{.median_us = 100.0};
    return Timing{.median_us = asked ? mixed_us : 120.0};
  };
  const auto compiled = [&] {
    int turns = 0;
    asked = false;
    CompileOptions counted = options;
    counted.timer = [&, timer = options.timer](const TimedWork& work, const BenchmarkOptions& how) {
      if (work.layer == "network" && work.format != "dense" && ++turns > 4) asked = true;  // the second network
      return timer(work, how);
    };
    return compile(model, shape, counted);
  };
  const Plan mixed = compiled();
  for (const PlanStep& step : mixed.steps()) {
    if (!step.candidates.empty()) CHECK(step.format == (step.layer == "dense_1" ? "csr" : "dense"));
  }
  CHECK(mixed.steps()[0].reason == "as a whole faster so: csr gains too little");
  CHECK(mixed.race()->us == 90.0);
  check_equal(model, mixed, shape);
  mixed_us = 99.0;  // noise
  const Plan all_dense = compiled();
  for (const PlanStep& step : all_dense.steps()) CHECK((step.format == "dense" || step.candidates.empty()));
}

TEST_CASE("plan: without a choice between sparse and dense there is no race") {
  Sequential model = small_cnn();
  CHECK(!compile(model, {2, 1, 12, 12}, only({csr()})).race().has_value());
  CHECK(!compile(model, {2, 1, 12, 12}, timed_by({{"dense", 5.0}, {"csr", 20.0}})).race().has_value());
}

TEST_CASE("plan: modelled for a GPU that is not here, it says so and is still right") {
  Sequential model = small_cnn();
  Pruner(model, {}).prune_to(0.9);
  CompileOptions options = kQuick;
  options.timer = [](const TimedWork&, const BenchmarkOptions&) -> Timing { throw InvalidArgument("timed"); };
  for (const GpuModel& gpu : gpu_models()) {
    options.gpu = &gpu;
    const Plan plan = compile(model, {3, 1, 12, 12}, options);
    CHECK(plan.timing() == std::string(gpu.name) + ", modelled");
    CHECK(fmt::format("{}", plan).find(plan.timing()) != std::string::npos);
    for (const PlanStep& step : plan.steps()) CHECK((step.us > 0) == (step.launches > 0));
    check_equal(model, plan, {3, 1, 12, 12});
  }
}

TEST_CASE("plan: never allocates after compile, and needs no more however often it runs") {
  Sequential model = small_cnn();
  Pruner(model, {}).prune_to(0.8);
  const Shape shape{3, 1, 12, 12};
  const Plan plan = compile(model, shape, kQuick);
  const Tensor images = random_images(shape, 1);
  plan(images);
  synchronize();
  const MemoryStatistics own = plan.memory(), everywhere = current_pool().statistics();
  for (int i = 0; i < 5; ++i) plan(images);
  synchronize();
  CHECK(plan.memory().device_allocations == own.device_allocations);
  CHECK(plan.memory().used_bytes == own.used_bytes);
  CHECK(current_pool().statistics().device_allocations == everywhere.device_allocations);
  CHECK(current_pool().statistics().used_bytes == everywhere.used_bytes);
}

TEST_CASE("plan: is a snapshot, which later training does not change") {
  Sequential model = small_cnn();
  const Shape shape{2, 1, 12, 12};
  const Plan plan = compile(model, shape, kQuick);
  const Tensor images = random_images(shape, 1);
  const std::vector<float> before = plan(images).to_host();
  for (Parameter* parameter : model.parameters()) {
    parameter->value.value().copy_from(Tensor::full(parameter->value.shape(), 7.0f));
  }
  CHECK(plan(images).to_host() == before);
}

TEST_CASE("plan: takes in activations that follow a product outside of a Sequential") {
  struct Net : Module {
    Dense first{6, 5, {.seed = 1}}, second{5, 3, {.seed = 2}};
    Gelu gelu;
    Variable operator()(const Variable& x) override { return second(gelu(first(x))); }
    std::vector<Module*> children() override { return {&first, &gelu, &second}; }
  } net;
  const Plan plan = compile(net, {4, 6}, kQuick);
  CHECK(plan.steps().size() == 2);
  check_equal(net, plan, {4, 6});
}

TEST_CASE("plan: layers that it does not know run as they are, branches included") {
  Sequential model(Conv2d(1, 4, {.padding = 1, .seed = 1}), BatchNorm2d(4), Relu(),
                   Residual(Sequential(Conv2d(4, 4, {.padding = 1, .seed = 2}), Relu())), AvgPool2d(2), Flatten(),
                   Dense(4 * 4 * 4, 3, {.seed = 3}));
  Pruner(model, {}).prune_to(0.7);
  check_equal(model, compile(model, {3, 1, 8, 8}, kQuick), {3, 1, 8, 8});
}

TEST_CASE("plan: leaves the model training if it was, and can be moved") {
  Sequential model = small_cnn();
  Plan plan = compile(model, {2, 1, 12, 12}, kQuick);
  CHECK(model.training());
  Plan moved = std::move(plan);
  check_equal(model, moved, {2, 1, 12, 12});
}

TEST_CASE("plan: refuses images of another shape, and its steps have no backward") {
  Sequential model = small_cnn();
  const Plan plan = compile(model, {2, 1, 12, 12}, kQuick);
  CHECK_THROWS_WITH_AS(plan(random_images({3, 1, 12, 12}, 1)),
                       "plan: images are [3, 1, 12, 12], compiled for [2, 1, 12, 12]; compile another plan for this "
                       "shape",
                       InvalidArgument);
  const CsrDenseFunction step(Csr::encode(Tensor::full({2, 2}, 1.0f)));
  CHECK_THROWS_AS(step.backward(Tensor::full({1, 2}, 1.0f), {}), InvalidArgument);
}

TEST_CASE("plan: filling the plan's own input saves the copy") {
  Sequential model = small_cnn();
  const Shape shape{2, 1, 12, 12};
  const Plan plan = compile(model, shape, kQuick);
  const Tensor images = random_images(shape, 3);
  plan.input().copy_from(images);
  CHECK(plan(plan.input()).to_host() == plan(images).to_host());
}

}  // namespace
}  // namespace espalier::pruning
