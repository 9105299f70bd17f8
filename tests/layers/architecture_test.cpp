// Models as JSON and back: every kind of layer, random trees, and words that make no model.
#include "layers/architecture.h"

#include <doctest/doctest.h>

#include <random>

#include "kernels/require.h"
#include "layers/layers.h"
#include "tests/support/close.h"

using namespace espalier;

namespace {

Sequential every_kind() {
  return Sequential(Conv2d(1, 4, {.kernel = 3, .stride = 1, .padding = 1}),
                    BatchNorm2d(4, {.epsilon = 1e-4f, .momentum = 0.3f}), Relu(),
                    Residual(Sequential(Conv2d(4, 4, {.padding = 1, .groups = 2, .bias = false}), LeakyRelu(0.03f)),
                             Conv2d(4, 4, {.kernel = 1})),
                    Residual(Tanh()), AvgPool2d(2, {.padding = 1, .divisor = AverageDivisor::inside}), MaxPool2d(2),
                    Flatten(), Dense(16, 6, {.bias = false}), BatchNorm1d(6), Gelu(), LayerNorm({6}), Dropout(0.1, 77),
                    Dense(6, 3), Sigmoid());
}

std::string error_of(const char* text) {
  try {
    build(description_from_json(text));
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("architecture: every kind of layer survives the way to JSON and back") {
  Sequential model = every_kind();
  const std::string text = to_json(model.describe());
  const std::unique_ptr<Module> again = build(description_from_json(text));
  CHECK(to_json(again->describe()) == text);
  const auto parameters = model.parameters(), rebuilt = again->parameters();
  REQUIRE(parameters.size() == rebuilt.size());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    CHECK(rebuilt[i]->name == parameters[i]->name);
    CHECK(rebuilt[i]->value.shape() == parameters[i]->value.shape());
    rebuilt[i]->value.value().copy_from(parameters[i]->value.value());
  }
  const auto buffers = model.buffers(), rebuilt_buffers = again->buffers();
  REQUIRE(buffers.size() == rebuilt_buffers.size());
  for (std::size_t i = 0; i < buffers.size(); ++i) CHECK(rebuilt_buffers[i]->name == buffers[i]->name);
  const Tensor x = Tensor::from({3, 1, 6, 6}, test::random_floats(108, 1));
  CHECK((*again)(x).value().to_host() == model(x).value().to_host());  // in training: dropout draws the same
}

TEST_CASE("architecture: the seed decides the first weights, and no two layers share them") {
  const Description description = Sequential(Dense(5, 5), Dense(5, 5)).describe();
  const auto weights = [&](std::uint64_t seed, std::size_t index) {
    return build(description, seed)->parameters()[index]->value.value().to_host();
  };
  CHECK(weights(1, 0) == weights(1, 0));
  CHECK(weights(1, 0) != weights(2, 0));
  CHECK(weights(1, 0) != weights(1, 2));
}

TEST_CASE("architecture: random trees of blocks survive") {
  std::mt19937 engine(3);
  const auto tree = [&](auto self, int depth) -> Description {
    const Description leaves[] = {Relu().describe(), Dropout(0.5, engine()).describe(), Dense(4, 4).describe(),
                                  LeakyRelu(float(engine() % 100) / 64).describe()};
    if (depth == 0 || engine() % 3 == 0) return leaves[engine() % 4];
    Description block{engine() % 2 ? "sequential" : "residual", {}, {}};
    for (unsigned left = 1 + engine() % 2; left > 0; --left) block.children.push_back(self(self, depth - 1));
    return block;
  };
  for (int round = 0; round < 20; ++round) {
    const std::string text = to_json(tree(tree, 4));
    CAPTURE(text);
    CHECK(to_json(description_from_json(text)) == text);
    CHECK(to_json(build(description_from_json(text))->describe()) == text);
  }
}

TEST_CASE("architecture: what makes no model names layer and attribute") {
  CHECK(error_of(R"({"kind":"relu"})") == "");
  CHECK(contains(error_of("{"), "not JSON"));
  CHECK(contains(error_of("[1]"), "needs a \"kind\""));
  CHECK(contains(error_of(R"({"kind":"perceptron"})"), "no layer called \"perceptron\""));
  CHECK(contains(error_of(R"({"kind":"dense","in_features":3,"bias":1})"), "lacks the attribute \"out_features\""));
  CHECK(contains(error_of(R"({"kind":"dense","in_features":3,"out_features":"x","bias":1})"), "must be an integer"));
  CHECK(contains(error_of(R"({"kind":"dense","in_features":3,"out_features":2.5,"bias":1})"), "must be an integer"));
  CHECK(contains(error_of(R"({"kind":"relu","slope":0.1})"), "\"slope\" that this layer does not know"));
  CHECK(contains(error_of(R"({"kind":"relu","children":[{"kind":"relu"}]})"), "holds none"));
  CHECK(contains(error_of(R"({"kind":"residual"})"), "has 0 layers inside"));
  CHECK(contains(error_of(R"({"kind":"sequential","children":{}})"), "must be a list"));
  CHECK(contains(error_of(R"({"kind":"relu","slope":null})"), "must be a number or a word"));
  CHECK(contains(error_of(R"({"kind":"avg_pool2d","window":2,"stride":2,"padding":0,"divisor":"three"})"), "three"));
  CHECK(error_of(R"({"kind":"dropout","probability":0,"seed":1})") == "");  // an integer is a number too
}
