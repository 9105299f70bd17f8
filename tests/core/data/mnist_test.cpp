// Where the files are looked for, how splits and normalisation are made, and what mismatched files say.
#include "core/data/mnist.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/data/synthetic.h"
#include "kernels/require.h"
#include "tests/support/temporary_folder.h"

using namespace espalier;
using espalier::test::EnvironmentScope;
using espalier::test::TemporaryFolder;

namespace {

constexpr data::SyntheticShape kSmall{.train = 60, .test = 20, .height = 12, .width = 14};

std::string error_of(const std::filesystem::path& directory) {
  try {
    data::mnist(directory);
  } catch (const data::DataError& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("mnist: an explicit folder, then the environment, then the cache are looked at") {
  const TemporaryFolder folder;
  const EnvironmentScope no_data("ESPALIER_DATA", nullptr);
  const EnvironmentScope cache("XDG_CACHE_HOME", (folder / "cache").c_str());
  const auto train_size = [](std::int64_t size) {
    data::SyntheticShape shape = kSmall;
    shape.train = size;
    return shape;
  };
  CHECK_THROWS_WITH_AS(data::mnist(), doctest::Contains((folder / "cache/espalier/mnist").c_str()), data::DataError);
  data::write_synthetic(folder / "cache/espalier/mnist", train_size(11));
  CHECK(data::mnist().train.size() == 11);
  const EnvironmentScope with_data("ESPALIER_DATA", (folder / "environment").c_str());
  CHECK(data::mnist().train.size() == 11);
  data::write_synthetic(folder / "environment", train_size(12));
  CHECK(data::mnist().train.size() == 12);
  CHECK(data::fashion_mnist().train.size() == 12);
  data::write_synthetic(folder / "environment/fashion-mnist", train_size(13));
  CHECK(data::fashion_mnist().train.size() == 13);
  CHECK(data::mnist().train.size() == 12);
  data::write_synthetic(folder / "given", train_size(14));
  CHECK(data::mnist(folder / "given").train.size() == 14);
  const std::string error = error_of(folder / "nowhere");  // an explicit folder is not replaced by another
  CHECK(contains(error, (folder / "nowhere").string()));
  CHECK(contains(error, "apps/fetch_data.sh mnist " + (folder / "nowhere").string()));
}

TEST_CASE("mnist: files that do not belong together are refused") {
  const TemporaryFolder folder;
  data::write_synthetic(folder.path(), kSmall);
  const std::vector<std::uint8_t> labels(59, 3);
  data::write_idx(folder / "train-labels-idx1-ubyte", {59}, labels);
  CHECK(contains(error_of(folder.path()), "has 60 images"));
  CHECK(contains(error_of(folder.path()), "has 59 labels"));
  std::vector<std::uint8_t> wrong(60, 3);
  wrong[41] = 10;
  data::write_idx(folder / "train-labels-idx1-ubyte", {60}, wrong);
  CHECK(contains(error_of(folder.path()), "label 41 is 10"));
  wrong[41] = 9;
  data::write_idx(folder / "train-labels-idx1-ubyte", {60}, wrong);
  const std::vector<std::uint8_t> pixels(20 * 12 * 12);
  data::write_idx(folder / "t10k-images-idx3-ubyte", {20, 12, 12}, pixels);
  CHECK(contains(error_of(folder.path()), "training images are 12 x 14, test images 12 x 12"));
  std::filesystem::remove(folder / "t10k-images-idx3-ubyte");
  CHECK(contains(error_of(folder.path()), "are not all in"));
}

TEST_CASE("image data: training and validation share no sample and together are all of them") {
  const auto data = data::synthetic(kSmall, {.validation = 17, .seed = 5});
  CHECK(data.train.size() == 43);
  CHECK(data.validation.size() == 17);
  CHECK(data.test.size() == 20);
  std::set<std::int32_t> seen(data.train.samples().indices().begin(), data.train.samples().indices().end());
  seen.insert(data.validation.samples().indices().begin(), data.validation.samples().indices().end());
  CHECK(seen.size() == 60);
  const auto again = data::synthetic(kSmall, {.validation = 17, .seed = 5});
  CHECK(again.validation.samples().indices() == data.validation.samples().indices());
  const auto other = data::synthetic(kSmall, {.validation = 17, .seed = 6});
  CHECK(other.validation.samples().indices() != data.validation.samples().indices());
  CHECK_THROWS_AS(data::synthetic(kSmall, {.validation = 60}), InvalidArgument);
}

TEST_CASE("image data: mean and deviation are those of the training split alone") {
  const auto data = data::synthetic(kSmall, {.validation = 20});
  const auto values = data.train.batch(0, data.train.size()).images.to_host();
  double sum = 0, squares = 0;
  for (const float value : values) sum += double(value), squares += double(value) * double(value);
  const double mean = sum / double(values.size());
  CHECK(std::abs(mean) < 1e-5);
  CHECK(std::abs(squares / double(values.size()) - mean * mean - 1) < 1e-4);
  CHECK(data.normalisation != data::synthetic(kSmall).normalisation);  // the 20 held-out images are left out
  const auto reused = data::synthetic(kSmall, {.normalisation = data.normalisation});
  CHECK(reused.normalisation == data.normalisation);
}

TEST_CASE("image data: min-max scaling gives 0.001 to 1, padding gives the value of byte zero") {
  const auto data = data::synthetic(kSmall, {.scaling = data::Scaling::min_max, .padding = 2});
  const Batch batch = data.test.batch(3, 5);
  CHECK(batch.images.shape() == Shape{5, 1, 16, 18});
  CHECK(batch.labels.shape() == Shape{5});
  const auto values = batch.images.to_host();
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  CHECK(std::abs(*low - 0.001f) < 1e-6f);
  CHECK(*high <= 1.0f + 1e-6f);
  CHECK(std::abs(values.front() - 0.001f) < 1e-6f);
}

TEST_CASE("image data: constant images stay finite") {
  const data::ImageBytes flat{2, 2, std::vector<std::uint8_t>(12, 7), {0, 1, 2}};
  const auto data = data::image_data("flat", flat, flat, 3, {});
  for (const float value : data.train.batch(0, 3).images.to_host()) CHECK(std::abs(value) < 1e-6f);
}

TEST_CASE("split: an empty one and a range outside name themselves") {
  const auto data = data::synthetic(kSmall);
  CHECK(data.validation.size() == 0);
  CHECK_THROWS_WITH_AS(data.validation.batch(0, 1), doctest::Contains("of a split of 0"), InvalidArgument);
  CHECK_THROWS_AS(data.test.batch(15, 6), InvalidArgument);
  CHECK(data.train.first(7).size() == 7);
  CHECK(data.train.first(1000).size() == 60);
}
