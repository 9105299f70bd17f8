// Residual branches that fall: what is left computes what the formula without them says.
#include "pruning/branch_pruning.h"

#include <doctest/doctest.h>

#include <cmath>

#include "kernels/require.h"
#include "layers/layers.h"
#include "pruning/pruner.h"
#include "tests/support/evaluated.h"
#include "tests/support/random_network.h"

namespace espalier::pruning {
namespace {

const Shape kInput{2, 6};

Sequential body(std::uint64_t seed) { return Sequential(Dense(6, 6, {.seed = seed}), Tanh()); }

Sequential residual_net() {
  return Sequential(Residual(body(1)), Residual(body(2), Sequential(Dense(6, 6, {.seed = 3}))), Relu(),
                    Residual(Sequential(Residual(body(4)), Dense(6, 6, {.seed = 5}))), Dense(6, 3, {.seed = 6}));
}

std::vector<float> outputs(Module& model, const Shape& input) {
  return test::evaluated(model, test::random_images(input));
}

void check_close(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) CHECK(a[i] == doctest::Approx(b[i]).epsilon(1e-6));
}

TEST_CASE("branches: all blocks are found, inner ones too, with what would fall") {
  Sequential model = residual_net();
  const std::vector<Branch> found = branches(model, {1, 6});
  REQUIRE(found.size() == 4);
  CHECK(found[1].name == "residual_2");
  CHECK(found[1].body == "residual_2.sequential_1");
  CHECK(found[1].parameters == 42);
  CHECK(found[1].macs == 36);
  CHECK(found[2].parameters == 84);
  CHECK(found[3].name == "residual_3.sequential_1.residual_1");
  CHECK(to_string(found).find("residual_3") != std::string::npos);
}

TEST_CASE("branches: without them the network computes what it would with bodies of zero") {
  for (const std::vector<std::string>& removed : {std::vector<std::string>{"residual_1"},
                                                  {"residual_2"},
                                                  {"residual_1", "residual_2"},
                                                  {"residual_3"},
                                                  {"residual_3.sequential_1.residual_1"}}) {
    CAPTURE(removed[0]);
    Sequential model = residual_net(), zeroed = residual_net();
    std::vector<std::string> bodies;
    for (const Branch& branch : branches(model, {1, 6})) {
      for (const std::string& name : removed) {
        if (branch.name == name) bodies.push_back(branch.body);
      }
    }
    for (const Parameter* parameter : zeroed.parameters()) {
      for (const std::string& name : bodies) {  // tanh(0) = 0; the third body ends in a product
        if (parameter->name.starts_with(name))
          parameter->value.value().copy_from(Tensor::zeros(parameter->value.shape()));
      }
    }
    const auto shallow = without_branches(model, removed);
    check_close(outputs(*shallow, kInput), outputs(zeroed, kInput));
    CHECK(shallow->parameters().size() ==
          model.parameters().size() - 2 * bodies.size() - 2 * (removed[0] == "residual_3"));
  }
}

TEST_CASE("branches: nothing removed is a copy, of convolutional networks with norms too, masks included") {
  for (unsigned seed = 1; seed <= 6; ++seed) {
    const auto model = test::RandomNetwork(seed).make();
    Pruner(*model, {.criterion = random(seed)}).prune_to(0.3);
    const auto copy = without_branches(*model, {});
    check_close(outputs(*copy, {2, 3, 12, 12}), outputs(*model, {2, 3, 12, 12}));
    CHECK(copy->parameters()[0]->mask() != nullptr);
  }
}

TEST_CASE("branches: scored by weights or by loss, the least fall until the target is met") {
  Sequential model = residual_net();
  std::vector<Branch> found = branches(model, {1, 6});
  const Criterion by_name = [](const Parameter& of) {
    const bool first = of.name.starts_with("residual_1");
    return Tensor::full(of.value.shape(), first ? 0.5f : 2.0f);
  };
  score_by_weights(found, model, by_name);
  CHECK(found[0].score == doctest::Approx(0.5));
  CHECK(found[2].score == doctest::Approx(2.0));
  const ShallowModel one = prune_branches(model, {1, 6}, {Target::Unit::sparsity, 0.1}, found);
  CHECK(one.removed == std::vector<std::string>{"residual_1"});
  CHECK(one.macs == one.macs_before - 36);
  CHECK(one.parameters == one.parameters_before - 42);

  const Judge counts = [](Module& judged) {  // the first block is worth most
    const bool whole = branches(judged, {1, 6}).size() == 4 && judged.parameters().size() == 12;
    return Metrics{.loss = whole ? 1.0 : 1.5, .classes = 2, .confusion = {1, 0, 0, 0}};
  };
  score_by_loss(found, model, counts);
  for (const Branch& branch : found) CHECK(branch.score == doctest::Approx(0.5));
  const ShallowModel all = prune_branches(model, {1, 6}, {Target::Unit::macs, 0.34}, found);
  CHECK(all.macs <= 0.34 * double(all.macs_before));
}

TEST_CASE("branches: what cannot be done is said") {
  Sequential model = residual_net();
  const std::vector<Branch> found = branches(model, {1, 6});
  const auto refused = [&](Module& of, const Target& target, const std::vector<Branch>& scored) {
    CHECK_THROWS_AS(prune_branches(of, {1, 6}, target, scored), InvalidArgument);
  };
  refused(model, {Target::Unit::macs, 0.01}, found);
  refused(model, {Target::Unit::channels, 0.5}, found);
  refused(model, {Target::Unit::threshold, 0.5}, found);
  refused(model, {Target::Unit::sparsity, 1.0}, found);
  refused(model, {Target::Unit::params, 1e9}, found);
  Sequential plain(Dense(6, 3));
  refused(plain, {Target::Unit::macs, 0.5}, branches(plain, {1, 6}));
  CHECK_THROWS_AS(without_branches(model, {"dense_1"}), InvalidArgument);
}

}  // namespace
}  // namespace espalier::pruning
