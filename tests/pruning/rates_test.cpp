// Shares of layers and targets in every unit: met, by no more than it takes, and refused where they cannot be.
#include "pruning/rates.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "kernels/require.h"
#include "layers/layers.h"
#include "pruning/pruner.h"
#include "tests/support/close.h"

namespace espalier::pruning {
namespace {

Sequential small_model() {
  return Sequential(Conv2d(1, 8, {.seed = 1}), Relu(), Conv2d(8, 8, {.seed = 2}), Relu(), Flatten(),
                    Dense(8 * 4 * 4, 20, {.seed = 3}), Relu(), Dense(20, 10, {.seed = 4}));
}
const Shape kInput{1, 1, 8, 8};

double densities_kept(const std::vector<Shape>& shapes, const std::vector<double>& densities) {
  double kept = 0;
  for (std::size_t i = 0; i < shapes.size(); ++i) kept += densities[i] * double(shapes[i].size());
  return kept;
}

}  // namespace

TEST_CASE("random graphs: layers share in proportion to sum over product of their sides, none above one") {
  const std::vector<Shape> shapes{{32, 1, 3, 3}, {64, 32, 3, 3}, {64, 1600}, {10, 64}};
  double all = 0;
  for (const Shape& shape : shapes) all += double(shape.size());
  for (const double density : {0.02, 0.1, 0.5, 0.95}) {
    for (const RandomGraph graph : {RandomGraph::erdos_renyi, RandomGraph::erdos_renyi_kernel}) {
      const std::vector<double> densities = random_graph_densities(shapes, density, graph);
      CHECK(densities_kept(shapes, densities) == doctest::Approx(density * all).epsilon(1e-9));
      for (const double each : densities) CHECK((each > 0 && each <= 1));
    }
  }
  const auto kernel = random_graph_densities(shapes, 0.02, RandomGraph::erdos_renyi_kernel);
  const double unit = kernel[2] / ((64.0 + 1600) / (64 * 1600));
  CHECK(kernel[1] == doctest::Approx(unit * (64 + 32 + 3 + 3) / (64.0 * 32 * 9)));
  CHECK_THROWS_AS(random_graph_densities(shapes, 0.0, RandomGraph::erdos_renyi), InvalidArgument);
}

TEST_CASE("pruner: random-graph scopes give every layer its own share of one budget") {
  for (const Scope scope : {Scope::erdos_renyi, Scope::erdos_renyi_kernel}) {
    Sequential model = small_model();
    Pruner pruner(model, {.criterion = random(3), .scope = scope});
    pruner.prune_to(0.9);
    CHECK(pruner.report().sparsity() == doctest::Approx(0.9).epsilon(0.002));
    CHECK(pruner.report().layers[2].sparsity() > pruner.report().layers[3].sparsity());
  }
}

TEST_CASE("pruner: layers with a sparsity of their own reach it, the others meet the budget") {
  Sequential model = small_model();
  Pruner pruner(model, {.layer_sparsity = {{"conv2d_2.weight", 0.25}, {"dense_2.weight", 0.0}}});
  pruner.prune_to(0.8);
  const Report report = pruner.report();
  CHECK(report.layers[1].sparsity() == 0.25);
  CHECK(report.layers[3].sparsity() == 0.0);
  CHECK(report.sparsity() == doctest::Approx(0.8).epsilon(0.001));
  CHECK_THROWS_AS(Pruner(model, {.layer_sparsity = {{"dense_9.weight", 0.5}}}), InvalidArgument);
  CHECK_THROWS_AS(Pruner(model, {.layer_sparsity = {{"dense_2.weight", 1.0}}}), InvalidArgument);
}

TEST_CASE("pruner: on the way, layers with a sparsity of their own have the same part of it as the whole") {
  Sequential model = small_model();
  Pruner pruner(model, {.min_density = 0.0, .layer_sparsity = {{"conv2d_2.weight", 0.5}}, .full_sparsity = 0.8});
  for (const double part : {0.25, 0.5, 1.0}) {
    pruner.prune_to(part * 0.8);
    CHECK(pruner.report().layers[1].sparsity() == doctest::Approx(part * 0.5).epsilon(0.02));
    CHECK(pruner.report().sparsity() == doctest::Approx(part * 0.8).epsilon(0.001));
  }
  CHECK_THROWS_AS(Pruner(model, {.full_sparsity = 1.0}), InvalidArgument);
}

TEST_CASE("targets: params, MACs, bytes and channels are met, and one weight fewer removed would not do") {
  using Unit = Target::Unit;
  for (const Unit unit : {Unit::params, Unit::macs, Unit::bytes}) {
    for (const double part : {0.7, 0.2}) {
      Sequential model = small_model();
      Pruner pruner(model, {});
      const Report dense = pruner.report(kInput);
      const double sparsity = pruner.sparsity_for({unit, part}, kInput);
      pruner.prune_to({unit, part}, kInput);
      const Report report = pruner.report(kInput);
      CAPTURE(to_string(unit));
      CHECK(report.sparsity() == doctest::Approx(sparsity).epsilon(1e-6));
      if (unit == Unit::params) CHECK(report.kept_parameters == std::int64_t(part * double(dense.parameters)));
      if (unit == Unit::macs) CHECK(report.kept_macs() <= std::int64_t(part * double(dense.macs())));
      if (unit == Unit::macs) CHECK(report.kept_macs() > std::int64_t(part * double(dense.macs())) - 36);
      if (unit == Unit::bytes) CHECK(report.sparse_bytes() <= std::int64_t(part * double(dense.dense_bytes())));
      if (unit == Unit::bytes) CHECK(report.sparse_bytes() > std::int64_t(part * double(dense.dense_bytes())) - 4);
    }
  }
  Sequential model = small_model();
  Pruner pruner(model, {.pattern = filters(), .scope = Scope::local, .ignore = {"dense_2.weight"}});
  pruner.prune_to({Unit::channels, 18}, kInput);
  std::int64_t living = 0;
  for (const Parameter* parameter : pruner.parameters()) {
    living += parameter->mask()->kept() / (parameter->size() / parameter->value.shape()[0]);
  }
  CHECK((living <= 18 && living > 14));
}

TEST_CASE("targets: a threshold removes what scores below it, down to the floor") {
  Sequential model = small_model();
  std::vector<std::int64_t> above;
  for (Parameter* parameter : model.parameters()) {
    if (parameter->value.shape().rank() < 2) continue;
    std::int64_t count = 0;
    for (const float w : parameter->value.value().to_host()) count += std::abs(w) >= 0.1f;
    above.push_back(count);
  }
  Pruner pruner(model, {});
  pruner.prune_to({Target::Unit::threshold, 0.1});
  const Report report = pruner.report();
  for (std::size_t i = 0; i < above.size(); ++i) CHECK(report.layers[i].kept == above[i]);
  pruner.prune_to({Target::Unit::threshold, 100.0});
  CHECK(pruner.report().layers[2].kept == 26);  // 1 % of 2560, rounded up
}

TEST_CASE("targets: what cannot be is refused with what can") {
  using Unit = Target::Unit;
  Sequential model = small_model();
  Pruner pruner(model, {.min_density = 0.5});
  CHECK_THROWS_WITH_AS(pruner.prune_to({Unit::params, 0.1}), doctest::Contains("the least"), InvalidArgument);
  CHECK_THROWS_WITH_AS(pruner.prune_to({Unit::macs, 0.5}), doctest::Contains("shape of the model's input"),
                       InvalidArgument);
  CHECK_THROWS_AS(pruner.prune_to({Unit::params, 1e9}), InvalidArgument);
  CHECK_THROWS_AS(pruner.prune_to({Unit::params, -1}), InvalidArgument);
  CHECK_THROWS_WITH_AS(pruner.prune_to(1.0), doctest::Contains("below 1"), InvalidArgument);
  CHECK(pruner.report().sparsity() == 0.0);  // nothing has happened
}

TEST_CASE("pruner: impossible requests each give one clear error") {
  Sequential model = small_model();
  const auto with_pattern = [&](Pattern pattern) { return Pruner(model, {.pattern = std::move(pattern)}); };
  CHECK_THROWS_WITH_AS(with_pattern(n_of_m(2, 4)).prune_to(0.5), doctest::Contains("does not divide"), InvalidArgument);
  const Pattern nothing = [](std::span<const Tensor> scores, const Budget&) {
    std::vector<Mask> masks;
    for (const Tensor& score : scores) masks.push_back({Tensor::zeros(score.shape(), DType::u8)});
    return masks;
  };
  CHECK_THROWS_WITH_AS(with_pattern(nothing).prune_to(0.5), doctest::Contains("conv2d_1.weight"), InvalidArgument);
  const Pattern misshapen = [](std::span<const Tensor> scores, const Budget&) {
    std::vector<Mask> masks(scores.size());
    for (Mask& mask : masks) mask.keep = Tensor::from({2}, std::vector<std::uint8_t>{1, 1});
    return masks;
  };
  CHECK_THROWS_WITH_AS(with_pattern(misshapen).prune_to(0.5), doctest::Contains("a mask of shape [2]"),
                       InvalidArgument);
  const Criterion broken = [](const Parameter& parameter) { return Tensor::full(parameter.value.shape(), NAN); };
  CHECK_THROWS_WITH_AS(Pruner(model, {.criterion = broken}).prune_to(0.5), doctest::Contains("NaN"), InvalidArgument);
  const Criterion flat = [](const Parameter&) { return Tensor::zeros({3}); };
  CHECK_THROWS_WITH_AS(Pruner(model, {.criterion = flat}).prune_to(0.5), doctest::Contains("gave scores [3]"),
                       InvalidArgument);
  CHECK_THROWS_AS(Pruner(model, {.min_density = 0.5, .max_density = 0.4}), InvalidArgument);
  for (const Parameter* parameter : model.parameters()) CHECK(parameter->mask() == nullptr);
}

TEST_CASE("pruner: tells what scoring has cost") {
  Sequential model = small_model();
  Pruner pruner(model, {});
  pruner.prune_to(0.5);
  pruner.prune_to(0.6);
  CHECK(pruner.cost().scorings == 2);
  CHECK(pruner.cost().backward_passes == 0);
  CHECK(pruner.cost().seconds >= pruner.last_cost().seconds);
  CHECK(figures(pruner.report(kInput)).find("MACs") != std::string::npos);
}

}  // namespace espalier::pruning
