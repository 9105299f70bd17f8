// The batch gather against plain loops: odd sizes, borders, repeated and reordered samples.
#include "kernels/gather.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"

using namespace espalier;
using namespace espalier::kernels;
using espalier::test::GuardedBuffer;

namespace {

void check_gather(const GatherShape& shape, index_t samples) {
  CAPTURE(shape.batch);
  CAPTURE(shape.channels);
  CAPTURE(shape.height);
  CAPTURE(shape.width);
  CAPTURE(shape.padding);
  std::mt19937 engine(unsigned(shape.batch * 31 + shape.width));
  std::vector<std::uint8_t> pixels(std::size_t(samples * shape.pixels())), labels;
  for (auto& pixel : pixels) pixel = std::uint8_t(engine() >> 9);
  for (index_t n = 0; n < samples; ++n) labels.push_back(std::uint8_t(engine() >> 9));
  std::vector<std::int32_t> indices;
  for (index_t n = 0; n < shape.batch; ++n) indices.push_back(std::int32_t(engine() % unsigned(samples)));
  indices.back() = std::int32_t(samples - 1);
  const PixelScale scale{0.0127f, -0.4242f};

  const GuardedBuffer<std::uint8_t> device_pixels(pixels), device_labels(labels);
  const GuardedBuffer<std::int32_t> device_indices(indices);
  GuardedBuffer<float> images(std::size_t(shape.output_size()));
  GuardedBuffer<std::int32_t> out(indices.size()), met(indices.size());
  gather_batch(
      shape, scale,
      {.pixels = device_pixels.data(), .labels = device_labels.data(), .order = device_indices.data() - 3, .first = 3},
      {images.data(), out.data(), met.data()}, nullptr);

  std::vector<double> expected;
  std::vector<std::int32_t> expected_labels;
  for (index_t n = 0; n < shape.batch; ++n) {
    expected_labels.push_back(labels[std::size_t(indices[std::size_t(n)])]);
    for (index_t c = 0; c < shape.channels; ++c) {
      for (index_t y = -shape.padding; y < shape.height + shape.padding; ++y) {
        for (index_t x = -shape.padding; x < shape.width + shape.padding; ++x) {
          const bool inside = y >= 0 && y < shape.height && x >= 0 && x < shape.width;
          const index_t at = ((indices[std::size_t(n)] * shape.channels + c) * shape.height + y) * shape.width + x;
          expected.push_back((inside ? double(pixels[std::size_t(at)]) : 0.0) * double(scale.scale) +
                             double(scale.offset));
        }
      }
    }
  }
  // One rounding of the product (at most 3.24 in magnitude), one of the sum, or one of both when fused.
  CHECK(test::difference(images.download(), expected, 0, 2 * 3.3 * 0x1p-24) == "");
  CHECK(out.download() == expected_labels);
  CHECK(images.guards_intact());
  CHECK(out.guards_intact());
  CHECK(met.download() == indices);
  CHECK(met.guards_intact());
}

}  // namespace

TEST_CASE("gather: any image size, channel count and border, samples in any order") {
  check_gather({1, 1, 1, 1, 0}, 1);
  check_gather({1, 1, 1, 1, 2}, 3);
  check_gather({3, 1, 5, 7, 0}, 2);
  check_gather({3, 2, 5, 7, 1}, 5);
  check_gather({7, 3, 4, 31, 0}, 11);
  check_gather({2, 1, 3, 33, 3}, 4);
  check_gather({5, 1, 28, 28, 0}, 9);
  check_gather({4, 1, 28, 28, 2}, 9);
  check_gather({300, 1, 3, 3, 0}, 17);
}

TEST_CASE("gather: random shapes") {
  std::mt19937 engine(17);
  const auto below = [&](unsigned limit) { return index_t(engine() % limit); };
  for (int round = 0; round < 25; ++round) {
    check_gather({1 + below(40), 1 + below(4), 1 + below(20), 1 + below(70), below(4)}, 1 + below(30));
  }
}

TEST_CASE("gather: a cursor in device memory says where the batch begins and is moved on by each") {
  const std::vector<std::uint8_t> pixels{10, 20, 30, 40}, labels{1, 2, 3, 4};
  const GuardedBuffer<std::uint8_t> device_pixels(pixels), device_labels(labels);
  const GuardedBuffer<std::int32_t> order(std::vector<std::int32_t>{3, 0, 2, 1, 1, 0});
  const BatchCursor at_second{.first = 1, .epoch = 7};
  GuardedBuffer<BatchCursor> cursor(std::vector<BatchCursor>{at_second});
  GuardedBuffer<float> images(2);
  GuardedBuffer<std::int32_t> out(2);
  std::vector<std::int32_t> met;
  for (int call = 0; call < 2; ++call) {
    gather_batch({.batch = 2}, {.scale = 1.0f},
                 {.pixels = device_pixels.data(),
                  .labels = device_labels.data(),
                  .order = order.data(),
                  .first = 99,
                  .cursor = cursor.data()},
                 {images.data(), out.data()}, nullptr);
    for (const std::int32_t label : out.download()) met.push_back(label);
  }
  CHECK(met == std::vector<std::int32_t>{1, 3, 2, 2});
  CHECK(images.download() == std::vector<float>{20, 20});
  CHECK(cursor.download()[0].first == 5);
  CHECK(cursor.download()[0].epoch == 7);
  CHECK(cursor.download()[0].finished_blocks == 0);
  CHECK(cursor.guards_intact());
}

TEST_CASE("gather: an empty batch is refused with its size") {
  CHECK_THROWS_WITH_AS(gather_batch({0, 1, 2, 2, 0}, {}, {}, {}, nullptr), doctest::Contains("batch 0"),
                       InvalidArgument);
}
