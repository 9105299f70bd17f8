// A plan whose network was compiled for its weights: the model's own output at every batch, kept on disk and rebuilt
// when damaged, and one clear reason where it cannot be.
#include "pruning/compiled_plan.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "core/train/atomic_file.h"
#include "layers/layers.h"
#include "layers/zoo.h"
#include "pruning/plan.h"
#include "pruning/product_steps.h"
#include "pruning/pruner.h"
#include "tests/support/evaluated.h"
#include "tests/support/temporary_folder.h"

namespace espalier::pruning {
namespace {

namespace fs = std::filesystem;

// Why no network can be compiled here; empty: it can.
std::string unavailable() {
  try {
    kernels::vendor::compiler_identity();
    return "";
  } catch (const kernels::vendor::CompileError& error) {
    return error.what();
  }
}

CompileOptions wanting(const test::TemporaryFolder& folder) {
  CompileOptions options{.candidates = {compiled_network(), dense()},
                         .selection = Selection::first_format,
                         .timer = [](const TimedWork&, const BenchmarkOptions&) { return Timing{.median_us = 1.0}; }};
  options.objects = ObjectCache(folder / "objects");
  return options;
}

void check_equal(Module& model, const Plan& plan, const Shape& shape) {
  const Tensor images = test::random_images(shape);
  CHECK(test::difference(plan(images).to_host(), test::evaluated(model, images), 1e-5, 1e-5) == "");
}

void check_at(Module& model, const Shape& image, std::initializer_list<std::int64_t> batches) {
  const test::TemporaryFolder folder;
  for (const std::int64_t batch : batches) {
    CAPTURE(batch);
    const Shape shape{batch, image[0], image[1], image[2]};
    const Plan plan = compile(model, shape, wanting(folder));
    if (const std::string reason = unavailable(); !reason.empty()) {
      REQUIRE(plan.steps().size() > 1);
      CHECK(fmt::format("{}", plan).find(reason) != std::string::npos);
    } else {
      REQUIRE(plan.steps().size() == 1);
      CHECK(plan.steps()[0].format == "compiled");
      CHECK(plan.node_count() == 1);
    }
    check_equal(model, plan, shape);
  }
}

void check_zoo(const char* name, double sparsity, std::initializer_list<std::int64_t> batches) {
  CAPTURE(name);
  Sequential model = zoo::build(name, {1, 28, 28});
  Pruner(model, {}).prune_to(sparsity);
  check_at(model, {1, 28, 28}, batches);
}

void set_to_zero(Parameter& weight) {
  Tensor keep = Tensor::zeros(weight.value.shape(), DType::u8);
  weight.set_mask({keep});
}

TEST_CASE("compiled plan: lenet-300-100 equals the model with zeros at batches around a vector and a warp") {
  check_zoo("lenet-300-100", 0.98, {1, 3, 31, 32, 33, 257});
}

TEST_CASE("compiled plan: lenet-5 and seed-cnn equal the model with zeros") {
  check_zoo("lenet-5", 0.99, {1, 33});
  check_zoo("seed-cnn", 0.97, {3, 32});
}

TEST_CASE("compiled plan: padding, stride, groups, odd sides, every activation") {
  Sequential model(Conv2d(2, 6, {.padding = 1, .seed = 1}), Sigmoid(),
                   Conv2d(6, 8, {.padding = 2, .groups = 2, .seed = 2}), Relu(), MaxPool2d(2),
                   Conv2d(8, 5, {.stride = 2, .padding = 1, .bias = false, .seed = 3}), Tanh(), Flatten(),
                   Dense(45, 20, {.seed = 4}), Gelu(), Dense(20, 12, {.seed = 5}), LeakyRelu(0.1f),
                   Dense(12, 7, {.bias = false, .seed = 6}));
  Pruner(model, {}).prune_to(0.5);
  check_at(model, {2, 9, 9}, {1, 35});
}

TEST_CASE("compiled plan: rows without weights, and a layer without any") {
  Sequential model(Flatten(), Dense(30, 20, {.seed = 1}), Relu(), Dense(20, 10, {.seed = 2}), Relu(),
                   Dense(10, 4, {.seed = 3}));
  Pruner(model, {}).prune_to(0.97);
  check_at(model, {1, 5, 6}, {2});
  set_to_zero(*model.parameters()[2]);
  check_at(model, {1, 5, 6}, {2});
}

TEST_CASE("compiled plan: what was compiled is kept, damage is told of and mended, a bad folder only costs time") {
  if (!unavailable().empty()) return;
  const test::TemporaryFolder folder;
  Sequential model(Flatten(), Dense(12, 5, {.seed = 1}), Relu(), Dense(5, 3, {.seed = 2}));
  const Shape shape{2, 1, 3, 4};
  std::string told;
  const auto warn = [&](const std::string& text) { told += text + "\n"; };
  const auto plan_with = [&](const ObjectCache& objects) {
    CompileOptions options = wanting(folder);
    options.objects = objects;
    const Plan plan = compile(model, shape, options);
    CHECK(plan.steps()[0].format == "compiled");
    check_equal(model, plan, shape);
  };
  const fs::path own = folder / "own";
  plan_with(ObjectCache(own, warn));
  CHECK(fs::status(own).permissions() == fs::perms::owner_all);
  REQUIRE(std::distance(fs::directory_iterator(own), {}) == 1);
  const fs::path file = fs::directory_iterator(own)->path();
  const auto written = fs::last_write_time(file);
  plan_with(ObjectCache(own, warn));
  CHECK(fs::last_write_time(file) == written);  // a hit
  CHECK(told == "");
  write_file_atomically(file, "espalier object 1");
  plan_with(ObjectCache(own, warn));
  CHECK(told.find("is damaged") != std::string::npos);
  told.clear();
  plan_with(ObjectCache(own, warn));
  CHECK(told == "");
  fs::permissions(own, fs::perms::group_write, fs::perm_options::add);
  plan_with(ObjectCache(own, warn));
  CHECK(told.find("others may write to it") != std::string::npos);
  told.clear();
  plan_with(ObjectCache("/proc/espalier", warn));
  CHECK(told.find("compiled code is not kept") != std::string::npos);
}

TEST_CASE("compiled plan: a time that was kept is that of one compiler's code, another's is measured anew") {
  if (kernels::vendor::compiler_name() != "C++ compiler" || !unavailable().empty()) return;
  const test::TemporaryFolder folder;
  Sequential model(Flatten(), Dense(12, 5, {.seed = 1}), Relu(), Dense(5, 3, {.seed = 2}));
  int timed = 0;
  CompileOptions options = wanting(folder);
  options.cache = PlanCache(folder / "plans");
  options.timer = [&timed](const TimedWork& work, const BenchmarkOptions&) {
    timed += work.format == "compiled";
    return Timing{.median_us = 1.0};
  };
  const auto timed_by = [&] {
    timed = 0;
    CHECK(compile(model, {2, 1, 3, 4}, options).steps()[0].format == "compiled");
    return timed;
  };
  CHECK(timed_by() > 0);
  CHECK(timed_by() == 0);
  const std::string identity = kernels::vendor::compiler_identity(), program = identity.substr(0, identity.find('\n'));
  const fs::path other = folder / "other";
  write_file_atomically(other, "#!/bin/sh\nexec '" + program + "' \"$@\"\n");
  fs::permissions(other, fs::perms::owner_all);
  const test::EnvironmentScope scope("ESPALIER_CXX", other.c_str());
  CHECK(timed_by() > 0);
}

Implementation implementation_of(Sequential& model, const Shape& shape) {
  return compile_network(trace_inference(model, Tensor::zeros(shape)), {});
}

TEST_CASE("compiled plan: what it cannot do is refused with its reason") {
  if (!unavailable().empty()) return;
  Sequential norm(Flatten(), Dense(8, 4), BatchNorm1d(4)), large(Flatten(), Dense(160, 160));
  CHECK(implementation_of(norm, {2, 1, 2, 4}).not_eligible.find("batch_norm") != std::string::npos);
  CHECK(implementation_of(large, {2, 1, 10, 16}).not_eligible.find("nonzeros are left") != std::string::npos);
}

TEST_CASE("compiled plan: without a compiler the plan goes on layer by layer and says so") {
  if (kernels::vendor::compiler_name() != "C++ compiler") return;
  const test::EnvironmentScope missing("ESPALIER_CXX", "/nowhere/c++");
  const test::TemporaryFolder folder;
  Sequential model(Flatten(), Dense(12, 5), Relu(), Dense(5, 3));
  const Plan plan = compile(model, {2, 1, 3, 4}, wanting(folder));
  CHECK(fmt::format("{}", plan).find("no C++ compiler answers here (tried /nowhere/c++)") != std::string::npos);
  check_equal(model, plan, {2, 1, 3, 4});
  const test::EnvironmentScope failing("ESPALIER_CXX", "/bin/true");  // answers, and compiles nothing
  CHECK(implementation_of(model, {2, 1, 3, 4}).not_eligible.find("cannot be loaded") != std::string::npos);
}

}  // namespace
}  // namespace espalier::pruning
