// Sgd, Adam and AdamW: PyTorch's trajectories, masks as an invariant, and steps that stay valid in a captured graph.
#include "core/train/optimizer.h"

#include <doctest/doctest.h>

#include <bit>
#include <memory>

#include "core/device/graph.h"
#include "core/train/adam.h"
#include "core/train/sgd.h"
#include "kernels/require.h"
#include "tests/support/close.h"
#include "tests/support/golden.h"

using namespace espalier;

namespace {

std::unique_ptr<Optimizer> make(const test::GoldenCase& golden, std::vector<Parameter*> parameters) {
  const auto number = [&](const char* key) { return golden.attribute<float>(key); };
  if (golden.attribute<std::string>("kind") == "sgd") {
    return std::make_unique<Sgd>(std::move(parameters), SgdOptions{.learning_rate = number("learning_rate"),
                                                                   .momentum = number("momentum"),
                                                                   .weight_decay = number("weight_decay"),
                                                                   .nesterov = golden.attribute<int>("nesterov") != 0});
  }
  const AdamOptions options{.learning_rate = number("learning_rate"),
                            .beta1 = golden.attribute<double>("beta1"),
                            .beta2 = golden.attribute<double>("beta2"),
                            .epsilon = number("epsilon"),
                            .weight_decay = number("weight_decay")};
  if (golden.attribute<std::string>("kind") == "adam") return std::make_unique<Adam>(std::move(parameters), options);
  return std::make_unique<AdamW>(std::move(parameters), options);
}

std::vector<std::unique_ptr<Optimizer>> one_of_each(const std::vector<Parameter*>& parameters) {
  std::vector<std::unique_ptr<Optimizer>> all;
  all.push_back(std::make_unique<Sgd>(parameters, SgdOptions{.learning_rate = 0.1f}));
  all.push_back(std::make_unique<Sgd>(
      parameters, SgdOptions{.learning_rate = 0.1f, .momentum = 0.9f, .weight_decay = 0.01f, .nesterov = true}));
  all.push_back(std::make_unique<Adam>(parameters, AdamOptions{.learning_rate = 0.1f, .weight_decay = 0.01f}));
  all.push_back(std::make_unique<AdamW>(parameters, AdamOptions{.learning_rate = 0.1f, .weight_decay = 0.01f}));
  return all;
}

}  // namespace

TEST_CASE("optimizer: follows PyTorch's trajectory") {
  const auto cases = test::golden_cases("optimizer");
  CHECK(cases.size() == 7);
  for (const auto& golden : cases) {
    CAPTURE(golden.name);
    const auto& initial = golden["initial"];
    const auto& gradients = golden["gradients"].values;
    Parameter parameter("weight", Tensor::from(Shape(initial.shape), initial.values));
    const auto optimizer = make(golden, {&parameter});
    const std::size_t size = initial.values.size(), steps = golden.attribute<std::size_t>("steps");
    std::vector<float> trajectory;
    for (std::size_t step = 0; step < steps; ++step) {
      const auto first = gradients.begin() + std::ptrdiff_t(step * size);
      optimizer->zero_gradients();
      CHECK(!parameter.value.has_gradient());
      parameter.value.set_gradient(
          Tensor::from(parameter.value.shape(), std::vector<float>(first, first + std::ptrdiff_t(size))));
      optimizer->step();
      const auto values = parameter.value.value().to_host();
      trajectory.insert(trajectory.end(), values.begin(), values.end());
    }
    // Each step adds a handful of roundings of values below 4; Adam divides by sqrt(v), which keeps relative errors.
    CHECK(test::difference(trajectory, golden["trajectory"].values, 1e-5, 2e-6) == "");
    CHECK(optimizer->steps() == std::int64_t(steps));
  }
}

TEST_CASE("optimizer: pruned weights and their moments are exactly +0 after every step of every kind") {
  for (const std::int64_t size : {1, 7, 64, 257}) {
    Parameter weight("weight", Tensor::from({size}, test::random_floats(std::size_t(size), 1)));
    Parameter free("free", Tensor::from({size}, test::random_floats(std::size_t(size), 2)));
    std::vector<std::uint8_t> keep;
    for (std::int64_t i = 0; i < size; ++i) keep.push_back(i % 3 == 1);
    for (const auto& optimizer : one_of_each({&weight, &free})) {
      weight.clear_mask();
      for (unsigned step = 0; step < 6; ++step) {
        if (step == 2) weight.set_mask({Tensor::from({size}, keep)});  // with momentum already gathered
        const auto gradient = test::random_floats(std::size_t(size), 10 + step);
        weight.value.set_gradient(Tensor::from({size}, gradient));
        free.value.set_gradient(Tensor::from({size}, gradient));
        optimizer->step();
        if (step < 2) continue;
        for (const Buffer* buffer : optimizer->state()) {
          if (!buffer->name.ends_with("/weight")) continue;
          const auto moments = buffer->value.to_host();
          for (std::size_t i = 0; i < keep.size(); ++i) {
            if (!keep[i]) CHECK(std::bit_cast<std::uint32_t>(moments[i]) == 0u);
          }
        }
        const auto values = weight.value.value().to_host();
        for (std::size_t i = 0; i < keep.size(); ++i) {
          if (keep[i]) CHECK(values[i] != 0.0f);
          if (!keep[i]) CHECK(std::bit_cast<std::uint32_t>(values[i]) == 0u);
        }
        for (const float value : free.value.value().to_host()) CHECK(value != 0.0f);
      }
    }
  }
}

TEST_CASE("optimizer: a captured step obeys a new learning rate and equals eager steps bit for bit") {
  const auto values = test::random_floats(37, 1), gradient = test::random_floats(37, 2);
  for (std::size_t kind = 0; kind < 4; ++kind) {
    Parameter eager("weight", Tensor::from({37}, values)), replayed("weight", Tensor::from({37}, values));
    for (Parameter* parameter : {&eager, &replayed}) parameter->value.set_gradient(Tensor::from({37}, gradient));
    const auto eager_optimizer = std::move(one_of_each({&eager})[kind]);
    const auto replayed_optimizer = std::move(one_of_each({&replayed})[kind]);
    const Graph graph([&] { replayed_optimizer->step(); });
    eager_optimizer->step();
    for (const float rate : {0.1f, 0.02f, 0.0f, 0.3f}) {
      eager_optimizer->set_learning_rate(rate);
      replayed_optimizer->set_learning_rate(rate);
      eager_optimizer->step();
      graph.launch();
    }
    CHECK(eager.value.value().to_host() == replayed.value.value().to_host());
    CHECK(replayed_optimizer->steps() == 5);
  }
}

TEST_CASE("optimizer: a parameter without a gradient stays as it is") {
  const auto values = test::random_floats(5, 1);
  Parameter used("used", Tensor::from({5}, values)), unused("unused", Tensor::from({5}, values));
  for (const auto& optimizer : one_of_each({&used, &unused})) {
    optimizer->zero_gradients();
    used.value.set_gradient(Tensor::full({5}, 1.0f));
    optimizer->step();
    CHECK(unused.value.value().to_host() == values);
  }
  CHECK(used.value.value().to_host() != values);
}

TEST_CASE("optimizer: settings that cannot work are refused with their values") {
  Parameter weight("weight", Tensor::zeros({2})), twin("weight", Tensor::zeros({2}));
  CHECK_THROWS_WITH_AS(Sgd({&weight}, {.momentum = 1.0f}), doctest::Contains("1.0"), InvalidArgument);
  CHECK_THROWS_AS(Sgd({&weight}, {.learning_rate = -1.0f}), InvalidArgument);
  CHECK_THROWS_AS(Sgd({&weight}, {.nesterov = true}), InvalidArgument);
  CHECK_THROWS_AS(Adam({&weight}, {.beta1 = 1.0}), InvalidArgument);
  CHECK_THROWS_AS(Adam({&weight}, {.epsilon = 0.0f}), InvalidArgument);
  CHECK_THROWS_WITH_AS(Sgd({&weight, &twin}), doctest::Contains("called weight"), InvalidArgument);
  CHECK_THROWS_AS(Sgd({}), InvalidArgument);
  Sgd sgd({&weight});
  CHECK_THROWS_AS(sgd.set_learning_rate(std::numeric_limits<float>::quiet_NaN()), InvalidArgument);
}
