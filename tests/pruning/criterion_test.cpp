// Criteria of the weights alone, against loops over the host's copies in double.
#include "pruning/criterion.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "layers/layers.h"
#include "pruning/normalisation.h"
#include "tests/support/close.h"
#include "tests/support/reference/scores.h"

namespace espalier::pruning {
namespace {

Parameter parameter_of(Shape shape, unsigned seed) {
  const std::vector<float> values = test::random_floats(std::size_t(shape.size()), seed);
  return {"layer.weight", Tensor::from(shape, std::span<const float>(values))};
}

std::vector<double> magnitudes_of(const Parameter& parameter) {
  std::vector<double> values;
  for (const float value : parameter.value.value().to_host()) values.push_back(std::abs(double(value)));
  return values;
}

}  // namespace

TEST_CASE("groups: what each covers of a convolution's and of a dense layer's weight") {
  const Shape convolution{6, 4, 3, 3}, dense{6, 10};
  const auto tile = [](const Grouping& grouping, const Shape& shape) {
    const kernels::TiledMatrix tiles = grouping(shape);
    return std::vector<std::int64_t>{tiles.rows, tiles.columns, tiles.tile_rows, tiles.tile_columns};
  };
  using Extents = std::vector<std::int64_t>;
  CHECK(tile(group::element(), convolution) == Extents{6, 36, 1, 1});
  CHECK(tile(group::filter(), convolution) == Extents{6, 36, 1, 36});
  CHECK(tile(group::column(), convolution) == Extents{6, 36, 6, 1});
  CHECK(tile(group::channel(), convolution) == Extents{6, 36, 6, 9});
  CHECK(tile(group::kernel(), convolution) == Extents{6, 36, 1, 9});
  CHECK(tile(group::vector(4), convolution) == Extents{6, 36, 4, 1});
  CHECK(tile(group::neuron(), dense) == Extents{6, 10, 1, 10});
  CHECK(tile(group::channel(), dense) == Extents{6, 10, 6, 1});
  CHECK(tile(group::kernel(), dense) == Extents{6, 10, 1, 1});
  CHECK(tile(group::block(4, 4), dense) == Extents{6, 10, 4, 4});
  CHECK(tile(group::block(16, 16), dense) == Extents{6, 10, 6, 10});
  CHECK_THROWS_AS(group::block(0, 4), InvalidArgument);
}

TEST_CASE("grouped criteria: l1, l2 and mean of |w| over every kind of group") {
  const Parameter parameter = parameter_of({6, 4, 3, 3}, 1);
  const std::vector<double> magnitudes = magnitudes_of(parameter);
  for (const Grouping& grouping : {group::element(), group::row(), group::column(), group::channel(), group::kernel(),
                                   group::block(4, 8), group::vector(4)}) {
    std::vector<double> sums(magnitudes.size()), norms(magnitudes.size()), means(magnitudes.size());
    for (const auto& members : test::tile_members(grouping(parameter.value.shape()))) {
      double sum = 0, squares = 0;
      for (const std::size_t i : members) sum += magnitudes[i], squares += magnitudes[i] * magnitudes[i];
      for (const std::size_t i : members) {
        sums[i] = sum;
        norms[i] = std::sqrt(squares);
        means[i] = sum / double(members.size());
      }
    }
    CHECK(test::difference(l1(grouping)(parameter).to_host(), sums, 1e-6, 0) == "");
    CHECK(test::difference(l2(grouping)(parameter).to_host(), norms, 1e-6, 0) == "");
    CHECK(test::difference(mean_magnitude(grouping)(parameter).to_host(), means, 1e-6, 0) == "");
  }
}

TEST_CASE("filter criteria: every weight of a filter has the filter's distance from the others") {
  const Parameter parameter = parameter_of({5, 3, 3, 3}, 2);
  for (const bool angular : {false, true}) {
    const std::vector<float> scores = (angular ? filter_dissimilarity() : geometric_median())(parameter).to_host();
    const auto sums = test::filter_distances_reference(5, 27, angular, parameter.value.value().to_host());
    std::vector<double> expected;
    for (const double sum : sums) expected.insert(expected.end(), 27, sum);
    CHECK(test::difference(scores, expected, 1e-5, 1e-5) == "");
  }
}

TEST_CASE("batch_norm_scale: the scale behind each convolution; none behind it is an error that says what to do") {
  Sequential model(Conv2d(1, 3, {.bias = false, .seed = 1}), BatchNorm2d(3), Relu(), Flatten(),
                   Dense(3 * 16, 4, {.seed = 2}));
  const std::vector<float> gamma{0.5f, -2.0f, 0.0f};
  std::vector<Parameter*> parameters = model.parameters();
  parameters[1]->value.value().copy_from(Tensor::from({3}, std::span<const float>(gamma)));
  const Criterion criterion = batch_norm_scale(model, {1, 1, 6, 6});
  const std::vector<float> scores = criterion(*parameters[0]).to_host();
  for (std::size_t i = 0; i < scores.size(); ++i) CHECK(scores[i] == std::abs(gamma[i / 9]));
  CHECK_THROWS_WITH_AS(criterion(*parameters[3]), doctest::Contains("ignore"), InvalidArgument);
}

TEST_CASE("normalised: mean of what lives, highest, and lamp") {
  const std::vector<float> host{0.0f, 0.5f, 2.0f, 0.0f, 1.5f};
  const Tensor scores = Tensor::from({5}, std::span<const float>(host));
  CHECK(normalised(scores, ScoreNormalisation::none, 5, "w").raw() == scores.raw());
  const auto divided = [&](double unit) {
    std::vector<double> expected;
    for (const float score : host) expected.push_back(double(score) / unit);
    return expected;
  };
  const auto by = [&](ScoreNormalisation normalisation) { return normalised(scores, normalisation, 3, "w").to_host(); };
  CHECK(test::difference(by(ScoreNormalisation::mean), divided(4.0 / 3), 1e-6, 0) == "");
  CHECK(test::difference(by(ScoreNormalisation::max), divided(2.0), 1e-6, 0) == "");
  CHECK(test::difference(by(ScoreNormalisation::lamp), test::lamp_reference(host), 1e-6, 0) == "");
  const Tensor zeros = Tensor::zeros({4});
  CHECK(normalised(zeros, ScoreNormalisation::mean, 4, "w").to_host() == std::vector<float>(4, 0.0f));
  const Tensor negative = Tensor::full({2}, -1.0f);
  CHECK_THROWS_WITH_AS(normalised(negative, ScoreNormalisation::lamp, 2, "w"), doctest::Contains("at least 0"),
                       InvalidArgument);
}

}  // namespace espalier::pruning
