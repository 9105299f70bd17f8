// The synthetic task: the same bytes from the same seed, all classes there, distinct enough to be told apart.
#include "core/data/synthetic.h"
#include "kernels/require.h"

#include <doctest/doctest.h>

#include <set>

#include "core/data/mnist.h"
#include "tests/support/temporary_folder.h"

using namespace espalier;

TEST_CASE("synthetic: the seed decides everything") {
  const data::SyntheticShape one{.height = 14, .width = 13, .seed = 1}, two{.height = 14, .width = 13, .seed = 2};
  const auto a = data::synthetic_digits(40, one, 0), b = data::synthetic_digits(40, one, 0);
  CHECK(a.pixels == b.pixels);
  CHECK(a.labels == b.labels);
  CHECK(data::synthetic_digits(40, one, 1).pixels != a.pixels);
  CHECK(data::synthetic_digits(40, two, 0).pixels != a.pixels);
  const auto shorter = data::synthetic_digits(11, one, 0);
  CHECK(std::equal(shorter.pixels.begin(), shorter.pixels.end(), a.pixels.begin()));
}

TEST_CASE("synthetic: the nearest class mean tells most digits apart, so there is something to learn") {
  const data::SyntheticShape shape{.height = 16, .width = 16};
  const auto train = data::synthetic_digits(600, shape, 0), test = data::synthetic_digits(200, shape, 1);
  std::vector<std::vector<double>> means(10, std::vector<double>(256));
  std::vector<double> counts(10);
  for (std::size_t n = 0; n < train.labels.size(); ++n) {
    ++counts[train.labels[n]];
    for (std::size_t i = 0; i < 256; ++i) means[train.labels[n]][i] += train.pixels[n * 256 + i];
  }
  CHECK(std::set<std::uint8_t>(train.labels.begin(), train.labels.end()).size() == 10);
  int right = 0;
  for (std::size_t n = 0; n < test.labels.size(); ++n) {
    double best = 1e300;
    std::size_t nearest = 0;
    for (std::size_t k = 0; k < 10; ++k) {
      double error = 0;
      for (std::size_t i = 0; i < 256; ++i) {
        const double difference = means[k][i] / counts[k] - test.pixels[n * 256 + i];
        error += difference * difference;
      }
      if (error < best) best = error, nearest = k;
    }
    right += nearest == test.labels[n];
  }
  CHECK(right > 80);
  CHECK(right < 190);  // and a linear look is not enough
}

TEST_CASE("synthetic: written as IDX files it is read as MNIST is") {
  const test::TemporaryFolder folder;
  const data::SyntheticShape shape{.train = 25, .test = 10, .height = 12, .width = 12};
  data::write_synthetic(folder.path(), shape);
  const auto from_files = data::mnist(folder.path()), direct = data::synthetic(shape);
  CHECK(from_files.normalisation == direct.normalisation);
  CHECK(from_files.train.batch(0, 25).images.to_host() == direct.train.batch(0, 25).images.to_host());
  CHECK(from_files.test.batch(0, 10).labels.to_host_as<std::int32_t>() ==
        direct.test.batch(0, 10).labels.to_host_as<std::int32_t>());
  CHECK_THROWS_AS(data::synthetic_digits(1, {.height = 11}, 0), InvalidArgument);
}
