// The named models: their sizes, that they run on images of several sizes, and that one learns.
#include "layers/zoo.h"

#include <doctest/doctest.h>

#include <cmath>

#include "kernels/require.h"
#include "layers/architecture.h"
#include "tests/support/close.h"

using namespace espalier;

namespace {

std::int64_t parameter_count(Module& model) {
  std::int64_t count = 0;
  for (const Parameter* parameter : model.parameters()) count += parameter->size();
  return count;
}

}  // namespace

TEST_CASE("zoo: the models have the sizes of their papers for MNIST") {
  const std::vector<std::pair<std::string_view, std::int64_t>> sizes{
      {"seed-cnn", 121'930},
      {"lenet-5", 431'080},
      {"lenet-5-relu", 431'080},
      {"lenet-300-100", 266'610},
      {"resnet-small", 77'754}};
  CHECK(zoo::names().size() == sizes.size());
  for (const auto& [name, size] : sizes) {
    Sequential model = zoo::build(name, {1, 28, 28});
    CAPTURE(std::string(name));
    CHECK(parameter_count(model) == size);
    CHECK(to_json(build(description_from_json(to_json(model.describe())))->describe()) == to_json(model.describe()));
  }
}

TEST_CASE("zoo: any image that the windows fit gives finite logits, the same for the same seed") {
  for (const auto name : zoo::names()) {
    for (const Shape& image : {Shape{1, 16, 16}, Shape{3, 17, 17}}) {
      Sequential model = zoo::build(name, image, 3, 7), same = zoo::build(name, image, 3, 7);
      Sequential other = zoo::build(name, image, 4, 7);
      const Shape batch{2, image[0], image[1], image[2]};
      const Tensor x = Tensor::from(batch, test::random_floats(std::size_t(batch.size()), 1));
      const auto logits = model(x).value().to_host();
      CHECK(logits.size() == 14);
      for (const float logit : logits) CHECK(std::isfinite(logit));
      CHECK(same(x).value().to_host() == logits);
      CHECK(other(x).value().to_host() != logits);
    }
  }
}

TEST_CASE("zoo: an unknown name lists the known ones, a small image tells its side") {
  CHECK_THROWS_WITH_AS(zoo::build("vgg", {1, 28, 28}), doctest::Contains("seed-cnn, lenet-5"), InvalidArgument);
  CHECK_THROWS_WITH_AS(zoo::build("lenet-5", {1, 9, 9}), doctest::Contains("too small"), InvalidArgument);
  CHECK_THROWS_AS(zoo::build("resnet-small", {1, 28, 30}), InvalidArgument);
  CHECK_THROWS_AS(zoo::build("seed-cnn", {28, 28}), InvalidArgument);
}
