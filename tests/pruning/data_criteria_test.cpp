// Criteria that look at data: each against the gradients and activations of the same batches, combined in double.
#include "pruning/data_criteria.h"

#include <doctest/doctest.h>

#include <cstring>

#include "kernels/require.h"
#include "layers/layers.h"
#include "tests/support/close.h"
#include "tests/support/reference/scores.h"
#include "tests/support/small_run.h"

namespace espalier::pruning {
namespace {

constexpr std::int64_t kSamples = 24, kBatch = 8;

Sequential model_with_kinks() {
  return Sequential(Conv2d(1, 4, {.seed = 1}), Tanh(), Conv2d(4, 6, {.groups = 2, .seed = 2}), Relu(), MaxPool2d(2),
                    Flatten(), Dropout(0.5, 3), Dense(6 * 16, 10, {.seed = 4}));
}

Sequential smooth_model() {  // whose gradient has a gradient everywhere
  return Sequential(Conv2d(1, 4, {.seed = 1}), Tanh(), Conv2d(4, 6, {.seed = 2}), Tanh(), Flatten(),
                    Dense(6 * 64, 10, {.seed = 4}));
}

struct Problem {
  data::ImageData data = test::small_data();
  Sequential model;
  Calibration calibration{model, data.train, {.samples = kSamples, .batch = kBatch}};
  std::vector<Parameter*> weights;

  explicit Problem(Sequential of = model_with_kinks()) : model(std::move(of)) {
    for (Parameter* parameter : model.parameters()) {
      if (parameter->value.shape().rank() >= 2) weights.push_back(parameter);
    }
  }
  std::vector<Batch> batches() const {
    std::vector<Batch> all;
    for (std::int64_t first = 0; first < kSamples; first += kBatch) all.push_back(data.train.batch(first, kBatch));
    return all;
  }
  // Of each batch, by hand.
  std::vector<std::vector<float>> gradients_of(Parameter& weight) {
    std::vector<std::vector<float>> gradients;
    model.set_training(false);
    for (const Batch& batch : batches()) {
      for (Parameter* parameter : model.parameters()) parameter->value.clear_gradient();
      softmax_cross_entropy(model(batch.images), batch.labels).backward();
      gradients.push_back(weight.value.gradient().to_host());
    }
    for (Parameter* parameter : model.parameters()) parameter->value.clear_gradient();
    return gradients;
  }
};

struct Means {
  std::vector<double> gradient, magnitude, square;
  explicit Means(const std::vector<std::vector<float>>& gradients)
      : gradient(gradients[0].size()), magnitude(gradient), square(gradient) {
    const double n = double(gradients.size());
    for (const auto& g : gradients) {
      for (std::size_t i = 0; i < g.size(); ++i) {
        gradient[i] += double(g[i]) / n;
        magnitude[i] += std::abs(double(g[i])) / n;
        square[i] += double(g[i]) * double(g[i]) / n;
      }
    }
  }
};

}  // namespace

TEST_CASE("gradient criteria: |g|, Taylor, SNIP and Fisher from the gradients of the calibration batches") {
  Problem problem;
  const Criterion gradient = absolute_gradient(problem.calibration), first = taylor(problem.calibration),
                  second = taylor_squared(problem.calibration), connection = snip(problem.calibration),
                  fisher = diagonal_fisher(problem.calibration), surgeon = block_obs(problem.calibration);
  problem.calibration.run();
  CHECK(problem.calibration.cost().samples == kSamples);
  CHECK(problem.calibration.cost().forward_passes == 3);
  CHECK(problem.calibration.cost().backward_passes == 3);
  CHECK(problem.calibration.cost().bytes > 0);
  for (Parameter* weight : problem.weights) {
    const std::vector<float> w = weight->value.value().to_host();
    const auto gradients = problem.gradients_of(*weight);
    const Means mean(gradients);
    std::vector<double> taylors, squares, snips, half_squares;
    for (std::size_t i = 0; i < w.size(); ++i) {
      taylors.push_back(std::abs(double(w[i])) * mean.magnitude[i]);
      squares.push_back(double(w[i]) * double(w[i]) * mean.square[i]);
      snips.push_back(std::abs(double(w[i]) * mean.gradient[i]));
      half_squares.push_back(0.5 * squares.back());
    }
    CAPTURE(weight->name);
    CHECK(test::difference(gradient(*weight).to_host(), mean.magnitude, 1e-5, 1e-9) == "");
    CHECK(test::difference(first(*weight).to_host(), taylors, 1e-5, 1e-9) == "");
    CHECK(test::difference(second(*weight).to_host(), squares, 1e-5, 1e-12) == "");
    CHECK(test::difference(connection(*weight).to_host(), snips, 1e-5, 1e-8) == "");  // batches cancel
    CHECK(test::difference(fisher(*weight).to_host(), half_squares, 1e-5, 1e-12) == "");
    CHECK(test::difference(surgeon(*weight).to_host(), test::obs_reference(w, gradients, 1e-4, 32), 2e-2, 1e-9) == "");
  }
}

TEST_CASE("grasp: w times the change of the gradient along itself") {
  Problem problem(smooth_model());
  const Criterion criterion = grasp(problem.calibration);
  problem.calibration.run();
  std::vector<std::vector<float>> before;
  std::vector<std::vector<double>> gradient;
  double length = 0, size = 0;
  for (Parameter* weight : problem.weights) {
    before.push_back(weight->value.value().to_host());
    gradient.push_back(Means(problem.gradients_of(*weight)).gradient);
    for (const double g : gradient.back()) length += g * g;
    for (const float w : before.back()) size += double(w) * double(w);
  }
  length = std::sqrt(length);
  const double step = 1e-3 * std::sqrt(size);  // another one than the criterion's: the second derivative is meant
  const auto at = [&](double offset) {
    for (std::size_t k = 0; k < before.size(); ++k) {
      std::vector<float> moved;
      for (std::size_t i = 0; i < before[k].size(); ++i) {
        moved.push_back(float(double(before[k][i]) + offset * gradient[k][i] / length));
      }
      problem.weights[k]->value.value().upload(std::as_bytes(std::span(moved)));
    }
    std::vector<std::vector<double>> gradients;
    for (Parameter* weight : problem.weights) gradients.push_back(Means(problem.gradients_of(*weight)).gradient);
    return gradients;
  };
  const auto ahead = at(step), behind = at(-step);
  for (std::size_t k = 0; k < before.size(); ++k) {
    problem.weights[k]->value.value().upload(std::as_bytes(std::span(before[k])));
  }
  for (std::size_t k = 0; k < before.size(); ++k) {
    std::vector<double> expected;
    for (std::size_t i = 0; i < before[k].size(); ++i) {
      expected.push_back(double(before[k][i]) * length * (ahead[k][i] - behind[k][i]) / (2 * step));
    }
    CAPTURE(problem.weights[k]->name);
    CHECK(test::norm_error(criterion(*problem.weights[k]).to_host(), expected) < 0.05);
  }
}

TEST_CASE("activation criteria: the fraction of nonzeros behind relu, and |w| times the norm of its input channel") {
  Problem problem;
  const Criterion frequency = activation_frequency(problem.calibration), norms = wanda(problem.calibration);
  problem.calibration.run();
  problem.model.set_training(false);
  std::vector<double> nonzeros(6), first(1), second(4);
  for (const Batch& batch : problem.batches()) {
    const NoGradient no_gradient;
    const Tensor hidden = problem.model[1](problem.model[0](batch.images)).value();
    const Tensor map = problem.model[4](problem.model[3](problem.model[2](hidden))).value();  // [N, 6, 4, 4]
    const auto of_input = batch.images.to_host(), of_hidden = hidden.to_host(), of_map = map.to_host();
    for (const float x : of_input) first[0] += double(x) * double(x);
    for (std::size_t i = 0; i < of_hidden.size(); ++i) {
      second[i / 100 % 4] += double(of_hidden[i]) * double(of_hidden[i]);
    }
    for (std::size_t i = 0; i < of_map.size(); ++i) nonzeros[i / 16 % 6] += of_map[i] != 0 ? 1.0 / (16 * kSamples) : 0;
  }
  const std::vector<float> of_filters = frequency(*problem.weights[1]).to_host();  // [6, 2, 3, 3]
  const std::vector<float> w1 = problem.weights[0]->value.value().to_host(),
                           w2 = problem.weights[1]->value.value().to_host();
  const std::vector<float> scores1 = norms(*problem.weights[0]).to_host(),
                           scores2 = norms(*problem.weights[1]).to_host();
  std::vector<double> expected, expected1, expected2;
  for (std::size_t i = 0; i < w2.size(); ++i) {
    expected.push_back(nonzeros[i / 18]);
    const std::size_t channel = i / 54 * 2 + i / 9 % 2;  // filters 0 to 2 read channels 0 and 1, the others 2 and 3
    expected2.push_back(std::abs(double(w2[i])) * std::sqrt(second[channel]));
  }
  for (const float w : w1) expected1.push_back(std::abs(double(w)) * std::sqrt(first[0]));
  CHECK(test::difference(of_filters, expected, 1e-5, 1e-6) == "");
  CHECK(test::difference(scores1, expected1, 1e-5, 1e-7) == "");
  CHECK(test::difference(scores2, expected2, 1e-5, 1e-7) == "");
}

TEST_CASE("movement: sums -g w over the steps of a training run") {
  Problem problem;
  Movement movement_of_run(problem.model);
  Sgd optimizer(problem.model.parameters(), {.learning_rate = 0.1f, .momentum = 0.9f});
  std::vector<std::vector<double>> expected;
  for (const Parameter* weight : problem.weights) expected.emplace_back(std::size_t(weight->size()), 0.0);
  problem.model.set_training(true);
  for (const Batch& batch : problem.batches()) {
    std::vector<std::vector<float>> before;
    for (const Parameter* weight : problem.weights) before.push_back(weight->value.value().to_host());
    optimizer.zero_gradients();
    softmax_cross_entropy(problem.model(batch.images), batch.labels).backward();
    optimizer.step();
    movement_of_run.observe();
    for (std::size_t k = 0; k < before.size(); ++k) {
      const std::vector<float> g = problem.weights[k]->value.gradient().to_host();
      for (std::size_t i = 0; i < g.size(); ++i) expected[k][i] -= double(g[i]) * double(before[k][i]);
    }
  }
  const Criterion criterion = movement(movement_of_run);
  for (std::size_t k = 0; k < expected.size(); ++k) {
    CHECK(test::difference(criterion(*problem.weights[k]).to_host(), expected[k], 1e-5, 1e-7) == "");
  }
}

TEST_CASE("calibration: disturbs neither gradients nor mode, and says what was not gathered") {
  Problem problem;
  const Criterion criterion = taylor(problem.calibration);
  CHECK_THROWS_WITH_AS(criterion(*problem.weights[0]), doctest::Contains("run()"), InvalidArgument);
  problem.model.set_training(true);
  const Tensor gradient = Tensor::full(problem.weights[0]->value.shape(), 3.0f);
  problem.weights[0]->value.set_gradient(gradient);
  problem.calibration.run();
  CHECK(problem.model.training());
  CHECK(problem.weights[0]->value.gradient().raw() == gradient.raw());
  CHECK(gradient.to_host() == std::vector<float>(std::size_t(gradient.size()), 3.0f));
  CHECK(!problem.weights[1]->value.has_gradient());
  const Parameter stranger("stranger.weight", Tensor::zeros({2, 2}));
  CHECK_THROWS_WITH_AS(criterion(stranger), doctest::Contains("stranger.weight"), InvalidArgument);
  CHECK_THROWS_AS(Calibration(problem.model, problem.data.train, {.samples = 0}), InvalidArgument);
  CHECK_THROWS_AS(Calibration(problem.model, TrainSplit(), {}), InvalidArgument);
}

}  // namespace espalier::pruning
