#include "pruning/shrink.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "kernels/require.h"
#include "layers/architecture.h"
#include "layers/model_file.h"
#include "pruning/channel_pruning.h"
#include "pruning/plan.h"
#include "pruning/pruner.h"
#include "tests/support/evaluated.h"
#include "tests/support/random_network.h"
#include "tests/support/small_run.h"
#include "tests/support/temporary_folder.h"

namespace espalier::pruning {
namespace {

using test::evaluated;
using test::random_images;

constexpr double kExact = 1e-5;  // of the largest output: sums in another order, some dozen roundings deep

Parameter& parameter(Module& model, const std::string& name) {
  for (Parameter* one : model.parameters()) {
    if (one->name == name) return *one;
  }
  throw std::runtime_error("no parameter " + name);
}

void set(Parameter& parameter, const std::vector<float>& values) {
  parameter.value.value().copy_from(Tensor::from(parameter.value.shape(), std::span<const float>(values)));
}

// Masks the rows of axis 0 that are listed.
void mask_rows(Parameter& parameter, const std::vector<std::int64_t>& rows) {
  const std::int64_t per_row = parameter.size() / parameter.value.shape()[0];
  std::vector<std::uint8_t> keep(std::size_t(parameter.size()), 1);
  for (const std::int64_t row : rows) std::fill_n(keep.begin() + row * per_row, per_row, std::uint8_t(0));
  parameter.set_mask({Tensor::from(parameter.value.shape(), keep)});
}

std::vector<std::int64_t> widths_of(const Shrunk& shrunk) {
  std::vector<std::int64_t> widths;
  for (const LayerWidth& width : shrunk.widths) widths.push_back(width.after);
  return widths;
}

TEST_CASE("shrink: a bias that a filter leaves behind goes through its activation into the next bias") {
  Sequential model(Conv2d(1, 4, {.seed = 1}), Sigmoid(), Conv2d(4, 3, {.seed = 2}), Relu(), Flatten(),
                   Dense(3 * 16, 2, {.seed = 3}));
  set(parameter(model, "conv2d_1.bias"), {0.5f, -2.0f, 3.0f, 0.1f});
  mask_rows(parameter(model, "conv2d_1.weight"), {1, 2});
  const Shrunk shrunk = shrink(model, {2, 1, 8, 8});
  CHECK(widths_of(shrunk) == std::vector<std::int64_t>{2, 3, 2});
  CHECK(shrunk.relative_difference() < kExact);
  CHECK(shrunk.largest_output > 0);
  CHECK(shrunk.parameters_after == 2 * 10 + (3 * 2 * 9 + 3) + (2 * 48 + 2));
  CHECK(shrunk.macs_after == 2 * 9 * 36 + 3 * 2 * 9 * 16 + 2 * 48);
  const Tensor x = random_images({3, 1, 8, 8}, 4);
  CHECK(test::norm_error(evaluated(*shrunk.model, x), evaluated(model, x)) < kExact);
}

TEST_CASE("shrink: before a padding convolution one constant channel takes over the others, borders included") {
  Sequential model(Conv2d(1, 5, {.padding = 1, .seed = 1}), BatchNorm2d(5), Relu(),
                   Conv2d(5, 3, {.stride = 2, .padding = 1, .bias = false, .seed = 2}), Flatten(),
                   Dense(3 * 9, 2, {.seed = 3}));
  set(parameter(model, "batch_norm2d_1.beta"), {0.5f, 2.0f, 3.0f, -1.0f, 0.1f});
  mask_rows(parameter(model, "conv2d_1.weight"), {1, 2, 3});
  const Shrunk shrunk = shrink(model, {2, 1, 6, 6});
  CHECK(widths_of(shrunk) == std::vector<std::int64_t>{3, 3, 2});  // 0 and 4 live, 2 carries 1, relu ends 3
  CHECK(shrunk.relative_difference() < kExact);
  CHECK(parameter(*shrunk.model, "conv2d_1.weight").mask() != nullptr);  // the carrier's filter stays pruned
}

TEST_CASE("shrink: a layer without bias leaves its constant to the batch norm behind, or is given a bias") {
  Sequential with_norm(Dense(3, 4, {.seed = 1}), Tanh(), Dense(4, 5, {.bias = false, .seed = 2}), BatchNorm1d(5),
                       Dense(5, 2, {.seed = 3}));
  Sequential without(Dense(3, 4, {.seed = 1}), Tanh(), Dense(4, 5, {.bias = false, .seed = 2}), Relu(),
                     Dense(5, 2, {.seed = 3}));
  for (Sequential* model : {&with_norm, &without}) {
    set(parameter(*model, "dense_1.bias"), {1.0f, 2.0f, 3.0f, 4.0f});
    mask_rows(parameter(*model, "dense_1.weight"), {0, 3});
    const Shrunk shrunk = shrink(*model, {7, 3});
    CHECK(widths_of(shrunk) == std::vector<std::int64_t>{2, 5, 2});
    CHECK(shrunk.relative_difference() < kExact);
    CHECK(shrunk.parameters_after == shrunk.parameters_before - 2 * 4 - 2 * 5 + (model == &without ? 5 : 0));
  }
}

TEST_CASE("shrink: what nobody reads falls, though it lives; a scale of zero makes a constant") {
  Sequential model(Dense(3, 6, {.seed = 1}), BatchNorm1d(6), Relu(), Dense(6, 4, {.seed = 2}), Relu(),
                   Dense(4, 2, {.seed = 3}));
  set(parameter(model, "batch_norm1d_1.gamma"), {1, 1, 0, 0, 1, 1});
  set(parameter(model, "batch_norm1d_1.beta"), {1, 1, 2, -3, 1, 1});
  std::vector<float> weight = parameter(model, "dense_2.weight").value.value().to_host();
  for (std::size_t filter = 0; filter < 4; ++filter) weight[filter * 6 + 5] = 0.0f;
  set(parameter(model, "dense_2.weight"), weight);
  const Shrunk shrunk = shrink(model, {4, 3});
  CHECK(widths_of(shrunk) == std::vector<std::int64_t>{3, 4, 2});
  CHECK(shrunk.relative_difference() < kExact);
}

TEST_CASE("shrink: widths are rounded up to a granule, and no layer falls altogether") {
  const auto pruned = [](const std::vector<std::int64_t>& of_second) {
    Sequential model(Dense(3, 20, {.seed = 1}), Relu(), Dense(20, 6, {.seed = 2}), Relu(), Dense(6, 2, {.seed = 3}));
    mask_rows(parameter(model, "dense_1.weight"), {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
    mask_rows(parameter(model, "dense_2.weight"), of_second);
    return model;
  };
  Sequential nothing_left = pruned({0, 1, 2, 3, 4, 5}), model = pruned({0});
  CHECK(widths_of(shrink(nothing_left, {1, 3})) == std::vector<std::int64_t>{1, 1, 2});  // dense_2 gives a constant
  CHECK(widths_of(shrink(model, {1, 3})) == std::vector<std::int64_t>{9, 5, 2});
  const Shrunk rounded = shrink(model, {1, 3}, {.granule = 8});
  CHECK(widths_of(rounded) == std::vector<std::int64_t>{16, 6, 2});
  CHECK(rounded.relative_difference() < kExact);
  CHECK_THROWS_AS(shrink(model, {1, 3}, {.granule = 0}), InvalidArgument);
}

TEST_CASE("shrink: random networks compute the same, whatever is pruned") {
  std::int64_t before = 0, after = 0;
  for (unsigned seed = 1; seed <= 60; ++seed) {
    test::RandomNetwork random(seed);
    const auto model = random.make();
    INFO("seed ", seed, ": ", to_json(model->describe()));
    const Shape input{2, 3, 12, 12};
    if (seed % 3 != 0) {
      const ChannelOptions all{.norm = ChannelNorm::l1, .contest = ChannelContest::all_layers};
      Pruner(*model, {.criterion = pruning::random(seed), .pattern = channel_pattern(*model, input, all)})
          .prune_to(0.6);
    } else {  // filters that do not agree with each other, and single weights
      for (Parameter* weight : model->parameters()) {
        std::vector<std::int64_t> rows;
        for (std::int64_t row = 0; row < weight->value.shape()[0]; ++row) {
          if (random.pick(0, 9) < 6) rows.push_back(row);
        }
        if (weight->value.shape().rank() >= 2 || random.pick(0, 2) == 0) mask_rows(*weight, rows);
      }
    }
    const Shrunk shrunk = shrink(*model, input, {.granule = seed % 4 == 0 ? 2 : 1});
    CHECK(shrunk.relative_difference() < kExact);
    before += shrunk.parameters_before, after += shrunk.parameters_after;
    const Shrunk again = shrink(*shrunk.model, input, {.granule = seed % 4 == 0 ? 2 : 1});
    CHECK(again.parameters_after <= shrunk.parameters_after);
    CHECK(again.relative_difference() < kExact);
  }
  CHECK(double(after) < 0.6 * double(before));
}

TEST_CASE("shrink: the result is saved, loaded, compiled and pruned like any other model") {
  Sequential model(Conv2d(1, 6, {.seed = 1}), Relu(), MaxPool2d(2), Flatten(), Dense(6 * 25, 4, {.seed = 2}));
  mask_rows(parameter(model, "conv2d_1.weight"), {0, 2, 4});
  const Shape shape{5, 1, 12, 12};
  const Shrunk shrunk = shrink(model, shape);
  const test::TemporaryFolder folder;
  save_model(folder.path() / "small.safetensors", *shrunk.model, {0.1f, 0.3f});
  const SavedModel loaded = load_model(folder.path() / "small.safetensors");
  const Tensor x = random_images(shape, 9);
  CHECK(evaluated(*loaded.module, x) == evaluated(*shrunk.model, x));
  const Plan plan = compile(*loaded.module, shape);
  CHECK(test::norm_error(plan(x).to_host(), evaluated(model, x)) < kExact);
  Pruner(*loaded.module, {}).prune_to(0.5);
}

TEST_CASE("shrink: moments move along, and training goes on as it would have") {
  for (const std::string kind : {"sgd", "adam"}) {
    Sequential model(Dense(4, 6, {.seed = 1}), Relu(), Dense(6, 3, {.seed = 2}));
    mask_rows(parameter(model, "dense_1.weight"), {1, 4});
    set(parameter(model, "dense_1.bias"), std::vector<float>(6, -0.5f));  // relu makes the two fallen channels zero
    const auto masked = test::make_optimizer(kind, model.parameters());
    const Tensor x = random_images({8, 4}, 3), target = random_images({8, 3}, 4);
    const auto step = [&](Module& of, Optimizer& optimizer) {
      optimizer.zero_gradients();
      mean_squared_error(of(Variable(x)), target).backward();
      optimizer.step();
    };
    for (int i = 0; i < 3; ++i) step(model, *masked);
    const Shrunk shrunk = shrink(model, {8, 4});
    CHECK(widths_of(shrunk) == std::vector<std::int64_t>{4, 3});
    const auto small = test::make_optimizer(kind, shrunk.model->parameters());
    move_state(shrunk, *masked, *small);
    CHECK(small->steps() == 3);
    for (int i = 0; i < 4; ++i) step(model, *masked), step(*shrunk.model, *small);
    CHECK(test::norm_error(evaluated(*shrunk.model, x), evaluated(model, x)) < 1e-4);
    const auto other = test::make_optimizer(kind == "sgd" ? "adam" : "sgd", shrunk.model->parameters());
    CHECK_THROWS_AS(move_state(shrunk, *masked, *other), InvalidArgument);
  }
}

TEST_CASE("shrink: a checkpoint of a run becomes one of the smaller model, moments and notes included") {
  test::SmallRun run("adam", 3);
  run.trainer().run();
  mask_rows(parameter(run.model(), "conv2d_1.weight"), {1});
  TrainingState state{.parameters = run.model().parameters(),
                      .buffers = run.model().buffers(),
                      .optimizer = &run.optimizer(),
                      .step = 10,
                      .notes = {{"origin", "a test"}}};
  const Safetensors before = content_of(state);
  const Shrunk shrunk = shrink(run.model(), {1, 1, 12, 12});
  CHECK(widths_of(shrunk) == std::vector<std::int64_t>{2, 10});
  const Safetensors content = shrunk_checkpoint(before, shrunk);
  const auto optimizer = test::make_optimizer("adam", shrunk.model->parameters());
  TrainingState restored{
      .parameters = shrunk.model->parameters(), .buffers = shrunk.model->buffers(), .optimizer = optimizer.get()};
  restore(content, restored);
  CHECK(restored.step == 10);
  CHECK(optimizer->steps() == run.optimizer().steps());
  CHECK(restored.notes.at("origin") == "a test");
  CHECK(restored.notes.at(kArchitectureNote) == to_json(shrunk.model->describe()));
}

}  // namespace
}  // namespace espalier::pruning
