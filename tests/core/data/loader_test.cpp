// The loader: every sample once per epoch, an order that depends on seed and epoch alone, and resuming anywhere.
#include "core/data/loader.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <concepts>

#include "core/data/synthetic.h"
#include "core/device/graph.h"
#include "kernels/require.h"

using namespace espalier;

namespace {

// A data set whose image n is filled with n, so that a batch tells which samples it holds.
TrainSplit numbered(std::int64_t count) {
  data::ImageBytes images{2, 3, {}, {}};
  for (std::int64_t n = 0; n < count; ++n) {
    images.pixels.insert(images.pixels.end(), 6, std::uint8_t(n));
    images.labels.push_back(std::uint8_t(n % 10));
  }
  return data::image_data("numbered", images, images, 10, {.normalisation = data::Normalisation{}}).train;
}

std::vector<int> members(const Batch& batch) {
  std::vector<int> members;
  const auto values = batch.images.to_host();
  const auto labels = batch.labels.to_host_as<std::int32_t>();
  for (std::size_t n = 0; n < labels.size(); ++n) {
    members.push_back(int(values[n * 6] * 255 + 0.5f));
    CHECK(labels[n] == members.back() % 10);
  }
  return members;
}

std::vector<int> epoch(DataLoader& loader) {
  std::vector<int> all;
  for (const Batch& batch : loader) {
    const auto some = members(batch);
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

std::vector<int> sorted(std::vector<int> values) {
  std::sort(values.begin(), values.end());
  return values;
}

}  // namespace

static_assert(std::constructible_from<DataLoader, TrainSplit>);
static_assert(!std::constructible_from<DataLoader, TestSplit>);
static_assert(!std::constructible_from<DataLoader, ValidationSplit>);
static_assert(HeldOutSplit<TestSplit> && HeldOutSplit<ValidationSplit> && !HeldOutSplit<TrainSplit>);

TEST_CASE("loader: an epoch holds every sample once, for any batch size") {
  for (const std::int64_t count : {1, 2, 7, 23}) {
    std::vector<int> expected;
    for (int n = 0; n < count; ++n) expected.push_back(n);
    for (const std::int64_t batch : {1, 2, 5, 23, 40}) {
      CAPTURE(count);
      CAPTURE(batch);
      DataLoader loader(numbered(count), {.batch = batch});
      CHECK(loader.batches() == (count + batch - 1) / batch);
      CHECK(sorted(epoch(loader)) == expected);
      CHECK(sorted(epoch(loader)) == expected);
      CHECK(loader.position() == LoaderPosition{2, 0});
      DataLoader plain(numbered(count), {.batch = batch, .shuffle = false});
      CHECK(epoch(plain) == expected);
    }
  }
}

TEST_CASE("loader: the order depends on seed and epoch alone") {
  DataLoader a(numbered(50), {.batch = 7, .seed = 3}), b(numbered(50), {.batch = 11, .seed = 3});
  DataLoader c(numbered(50), {.batch = 7, .seed = 4});
  const auto first = epoch(a), second = epoch(a);
  CHECK(first != second);
  CHECK(epoch(b) == first);
  CHECK(epoch(c) != first);
  b.seek({1, 0});
  CHECK(epoch(b) == second);
}

TEST_CASE("loader: one put back to a saved position goes on with the same batches") {
  DataLoader unbroken(numbered(23), {.batch = 4});
  std::vector<std::vector<int>> batches;
  std::vector<LoaderPosition> positions;
  for (int i = 0; i < 17; ++i) {
    positions.push_back(unbroken.position());
    batches.push_back(members(unbroken.next()));
  }
  for (std::size_t i = 0; i < positions.size(); ++i) {
    DataLoader resumed(numbered(23), {.batch = 4});
    resumed.seek(positions[i]);
    for (std::size_t k = i; k < std::min(i + 7, batches.size()); ++k) CHECK(members(resumed.next()) == batches[k]);
  }
  CHECK_THROWS_AS(unbroken.seek({0, 6}), InvalidArgument);
}

TEST_CASE("loader: peeking takes nothing, a loop left by break is gone on with") {
  DataLoader loader(numbered(10), {.batch = 4});
  const auto peeked = members(*loader.begin());
  CHECK(loader.begin()->images.shape() == Shape{4, 1, 2, 3});
  CHECK(loader.position() == LoaderPosition{0, 0});
  std::vector<int> taken;
  for (const Batch& batch : loader) {
    if (!taken.empty()) break;
    taken = members(batch);
  }
  CHECK(taken == peeked);
  CHECK(loader.position() == LoaderPosition{0, 1});
  CHECK(epoch(loader).size() == 6);
}

TEST_CASE("loader: fixed buffers get the same batches; a wrong size is refused") {
  DataLoader moving(numbered(10), {.batch = 4}), fixed(numbered(10), {.batch = 4});
  const Batch buffers = Batch::empty(4, fixed.image_shape());
  for (int i = 0; i < 2; ++i) {
    fixed.next_into(buffers);
    CHECK(members(buffers) == members(moving.next()));
  }
  CHECK(fixed.next_size() == 2);
  CHECK_THROWS_AS(fixed.next_into(buffers), InvalidArgument);
}

TEST_CASE("loader: dropping the last batch leaves full ones only") {
  DataLoader loader(numbered(10), {.batch = 4, .drop_last = true});
  CHECK(loader.batches() == 2);
  CHECK(epoch(loader).size() == 8);
  CHECK_THROWS_AS(DataLoader(numbered(3), {.batch = 4, .drop_last = true}), InvalidArgument);
}

TEST_CASE("loader: keeps its data alive and follows a validation split") {
  const auto make = [] {
    return data::synthetic({.train = 30, .test = 10, .height = 12, .width = 12}, {.validation = 9});
  };
  const auto kept = make().train.samples().indices();
  DataLoader loader(make().train, {.batch = 8});
  std::int64_t samples = 0;
  for (const Batch& batch : loader) samples += batch.size();
  CHECK(samples == 21);
  CHECK(std::int64_t(kept.size()) == 21);
}

TEST_CASE("loader: a captured batch is the next one at each replay, over the end of an epoch and after a seek") {
  DataLoader loader(numbered(12), {.batch = 4, .seed = 3}), eager(numbered(12), {.batch = 4, .seed = 3});
  const Batch buffers = Batch::empty(4, loader.image_shape());
  loader.stage();
  const Graph gather([&] { loader.enqueue(buffers); });
  loader.count_as_taken();
  CHECK(members(buffers) == members(eager.next()));
  for (int step = 1; step < 8; ++step) {
    if (step == 5) {
      loader.seek({7, 1});
      eager.seek({7, 1});
    }
    loader.stage();
    gather.launch();
    loader.count_as_taken();
    CHECK(members(buffers) == members(eager.next()));
    CHECK(loader.position() == eager.position());
  }
}

TEST_CASE("loader: augmented images differ between epochs and are the same after a seek") {
  const auto train = data::synthetic({.train = 20, .test = 1, .height = 12, .width = 12}).train;
  DataLoader loader(train, {.batch = 10, .shuffle = false, .augmentation = {.shift = 2, .rotation_turns = 0.1f}});
  DataLoader plain(train, {.batch = 10, .shuffle = false});
  const std::vector<float> first = loader.next().images.to_host();
  CHECK(first != plain.next().images.to_host());
  loader.next();
  CHECK(loader.next().images.to_host() != first);
  loader.seek({0, 0});
  CHECK(loader.next().images.to_host() == first);
}
