// Weights that are random while a model trains: their gradients, what layers compute with them, and what is left.
#include "pruning/random_weights.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "kernels/require.h"
#include "layers/gradient_check.h"
#include "pruning/pruner.h"
#include "pruning/random_functions.h"
#include "pruning/weights.h"
#include "tests/support/close.h"
#include "tests/support/small_run.h"

namespace espalier::pruning {
namespace {

// f(weight, learned), whatever the input is: gradients by both parameters are checked.
struct Drawn : Module {
  std::shared_ptr<const Function> function;
  Parameter weight{"weight", Tensor::from({4, 6}, test::random_floats(24, 1, 0.2f, 1.0f))};
  Parameter learned;

  Drawn(std::shared_ptr<const Function> of, Tensor initial)
      : function(std::move(of)), learned("learned", std::move(initial)) {}
  std::vector<Parameter*> own_parameters() override { return {&weight, &learned}; }
  Variable operator()(const Variable&) override { return apply(function, {weight.value, learned.value}); }
};

const Tensor kNoPenalty = Tensor::zeros({1});

// A run of small_model() over `epochs` of 5 steps, prepared from its first step on.
struct PreparedRun {
  data::ImageData data = test::small_data();
  Sequential model = test::small_model();
  DataLoader loader{data.train, {.batch = 14, .seed = 7}};
  Adam optimizer{model.parameters(), {.learning_rate = 0.01f}};
  Pruner pruner;

  explicit PreparedRun(const PreparationOptions& preparation, double sparsity = 0.1)
      : pruner(model, {.schedule = one_shot(sparsity, 0), .min_density = 0.02, .preparation = preparation}) {}
  void train(std::int64_t epochs) {
    Trainer trainer(classifier(model), optimizer, loader,
                    {.epochs = epochs,
                     .after_update = [&] { pruner.prepare(optimizer.rate_on_device()); },
                     .after_step = [&](std::int64_t) { pruner.step(); },
                     .progress = Progress::none});
    trainer.run();
  }
};

PreparationOptions preparation(PreparationKind kind, float strength) {
  return {.kind = kind, .strength = strength, .steps = 20, .every = 4, .images = 1000, .rate = 0.5f};
}

}  // namespace

TEST_CASE("random weights: gradients through variances and gates equal central differences") {
  const auto variance = std::make_shared<WeightVarianceFunction>(Tensor(), kNoPenalty);
  const GradientReport of_variance =
      gradient_check(Drawn(variance, Tensor::from({4, 6}, test::random_floats(24, 2, -2, 0))), {1});
  INFO(of_variance.worst);
  CHECK(of_variance);
  for (const kernels::PlanesShape& groups : {kernels::PlanesShape{1, 24, 1}, {1, 4, 6}, {4, 6, 1}}) {
    const Tensor step = Tensor::zeros({1}, DType::i64);
    const auto gates = std::make_shared<HardConcreteFunction>(groups, 3, step, kNoPenalty);
    // Log alpha at which no gate of this seed is near where it is clipped.
    const GradientReport report =
        gradient_check(Drawn(gates, Tensor::full({groups.channels}, 0.3f)), {1}, {.step = 1e-3f, .tolerance = 0.05});
    INFO(report.worst);
    CHECK(report);
  }
}

TEST_CASE("random weights: sums of a product have the mean and the variance of its weights") {
  Dense dense(3, 1);
  RandomWeights random({&dense.weight()}, {.rate = 0.1f, .seed = 1}, kNoPenalty);
  const std::vector<float> before = dense(Variable(Tensor::full({1, 3}, 2.0f))).value().to_host();
  random.begin();
  const std::vector<float> y = dense(Variable(Tensor::full({4000, 3}, 2.0f))).value().to_host();
  double mean = 0, square = 0;
  for (const float value : y) mean += double(value) / 4000;
  for (const float value : y) square += (double(value) - mean) * (double(value) - mean) / 4000;
  const double variance = 3 * 4 * std::exp(-10.0);
  CHECK(std::abs(mean - double(before[0])) < 5 * std::sqrt(variance / 4000));
  CHECK(square == doctest::Approx(variance).epsilon(0.15));
  dense.set_training(false);
  CHECK(dense(Variable(Tensor::full({1, 3}, 2.0f))).value().to_host() == before);
  random.detach();
  CHECK(dense.weight().random() == nullptr);
}

TEST_CASE("random weights: a prepared run ends without noise, and superfluous weights fall beyond the target") {
  for (const PreparationKind kind : {PreparationKind::variational, PreparationKind::hard_concrete}) {
    CAPTURE(int(kind));
    PreparedRun weak(preparation(kind, 1e-6f), 0.3), strong(preparation(kind, 100.0f), 0.3);
    weak.train(3);
    CHECK(weak.pruner.parameters()[0]->random() != nullptr);
    weak.train(5);
    strong.train(5);
    for (PreparedRun* run : {&weak, &strong}) {
      for (const Parameter* one : run->pruner.parameters()) CHECK(one->random() == nullptr);
    }
    CHECK(weak.pruner.report().sparsity() == doctest::Approx(0.3).epsilon(0.01));
    CHECK(strong.pruner.report().sparsity() > 0.5);
  }
}

TEST_CASE("random weights: layers evaluate with the gates that are expected, which then become part of the weights") {
  for (const GateGroups groups : {GateGroups::elements, GateGroups::filters, GateGroups::channels}) {
    CAPTURE(int(groups));
    Sequential model = test::small_model();
    const std::vector<Parameter*> weights = weights_of(model);
    RandomWeights random(weights, {.kind = Randomness::hard_concrete, .groups = groups}, kNoPenalty);
    random.begin();
    for (Buffer* buffer : random.state()) {  // gates of all sorts
      if (!buffer->name.starts_with("preparation/log_alpha/")) continue;
      const auto values = test::random_floats(std::size_t(buffer->value.size()), 3, -4, 4);
      buffer->value.upload(std::as_bytes(std::span(values)));
    }
    model.set_training(false);
    const Variable x(Tensor::from({2, 1, 12, 12}, test::random_floats(288, 4)));
    const std::vector<float> before = model(x).value().to_host();
    const std::vector<float> signal = random.signals()[1].to_host();
    const double superfluous = random.superfluous();
    random.settle();
    CHECK(weights[1]->random() == nullptr);
    CHECK(weights[1]->value.value().to_host() == signal);
    CHECK(model(x).value().to_host() == before);
    std::int64_t zeros = 0, all = 0;
    for (const Parameter* one : weights) {
      const auto values = one->value.value().to_host();
      zeros += std::count(values.begin(), values.end(), 0.0f);
      all += one->size();
    }
    CHECK(superfluous == doctest::Approx(double(zeros) / double(all)));
    CHECK((superfluous > 0.0 && superfluous < 1.0));
  }
}

TEST_CASE("random weights: what cannot be is refused") {
  Sequential model = test::small_model();
  const std::vector<Parameter*> weights = weights_of(model);
  CHECK_THROWS_AS(RandomWeights(weights, {.rate = 0}, kNoPenalty), InvalidArgument);
  CHECK_THROWS_AS(RandomWeights({model.parameters()[2]}, {}, kNoPenalty), InvalidArgument);  // of a batch norm
  PreparationOptions options = preparation(PreparationKind::variational, 1.0f);
  options.images = 0;
  CHECK_THROWS_AS(Preparation(weights, options), InvalidArgument);
  CHECK_THROWS_AS(Preparation(weights, preparation(PreparationKind::hard_concrete, 0.0f)), InvalidArgument);
  Dense dense(3, 2);
  RandomWeights random({&dense.weight()}, {}, kNoPenalty);
  random.begin();
  const PrecisionScope scope(Precision::fp16);
  CHECK_THROWS_AS(dense(Variable(Tensor::full({1, 3}, 2.0f))), InvalidArgument);
}

}  // namespace espalier::pruning
