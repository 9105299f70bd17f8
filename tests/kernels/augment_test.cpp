// Distorted batches against plain loops in double; nothing but (seed, epoch, sample) decides the distortion.
#include "kernels/augment.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/reference/augment.h"

using namespace espalier;
using namespace espalier::kernels;
using espalier::test::GuardedBuffer;

namespace {

constexpr std::uint64_t kSeed = 0x123456789abcull, kEpoch = 5;
constexpr PixelScale kScale{1.0f / 255, -0.25f};

struct Images {
  GatherShape shape;
  std::vector<std::uint8_t> pixels, labels;
  std::vector<std::int32_t> order;

  Images(const GatherShape& of, index_t samples) : shape(of) {
    std::mt19937 engine(unsigned(of.width * 7 + of.batch));
    for (index_t i = 0; i < samples * of.pixels(); ++i) pixels.push_back(std::uint8_t(engine() >> 9));
    for (index_t i = 0; i < samples; ++i) labels.push_back(std::uint8_t(i % 11));
    for (index_t n = 0; n < of.batch; ++n) order.push_back(std::int32_t(engine() % unsigned(samples)));
  }
};

std::vector<float> augmented(const Images& of, const Augmentation& amounts, std::uint64_t seed, std::uint64_t epoch) {
  const GuardedBuffer<std::uint8_t> pixels(of.pixels), labels(of.labels);
  const GuardedBuffer<std::int32_t> order(of.order);
  GuardedBuffer<float> images(std::size_t(of.shape.output_size()));
  GuardedBuffer<std::int32_t> out(of.order.size()), samples(of.order.size());
  gather_augmented(of.shape, kScale, amounts, seed,
                   {.pixels = pixels.data(), .labels = labels.data(), .order = order.data(), .epoch = epoch},
                   {images.data(), out.data(), samples.data()}, nullptr);
  CHECK(images.guards_intact());
  CHECK(out.guards_intact());
  CHECK(samples.guards_intact());
  CHECK(samples.download() == of.order);
  const std::vector<std::int32_t> met = out.download();
  for (std::size_t n = 0; n < met.size(); ++n) CHECK(met[n] == of.labels[std::size_t(of.order[n])]);
  return images.download();
}

void check_augmented(const GatherShape& shape, const Augmentation& amounts) {
  CAPTURE(shape.width);
  CAPTURE(shape.height);
  const Images images(shape, 7);
  std::vector<double> expected;
  for (index_t n = 0; n < shape.batch; ++n) {
    const test::AugmentedInDouble of(shape, images.pixels, kSeed, kEpoch, std::uint32_t(images.order[std::size_t(n)]));
    for (index_t c = 0; c < shape.channels; ++c) {
      for (index_t y = 0; y < shape.out_height(); ++y) {
        for (index_t x = 0; x < shape.out_width(); ++x) {
          expected.push_back(of(amounts, c, y, x) * double(kScale.scale) + double(kScale.offset));
        }
      }
    }
  }
  // A place is right to about ten roundings of the side, and neighbouring bytes differ by at most one after scaling.
  const double tolerance = 2e-6 * double(shape.out_width() + shape.out_height()) + 1e-6;
  CHECK(test::difference(augmented(images, amounts, kSeed, kEpoch), expected, 0, tolerance) == "");
}

}  // namespace

TEST_CASE("augment: equals plain loops in double, each amount alone and all together") {
  const Augmentation kinds[] = {{.shift = 2.5f},
                                {.rotation_turns = 0.49f},
                                {.scale = 0.3f},
                                {.shear = 0.4f},
                                {.erased = 3},
                                {.erased = 40},
                                {.shift = 3, .rotation_turns = 0.05f, .scale = 0.1f, .shear = 0.1f, .erased = 5}};
  for (const Augmentation& amounts : kinds) {
    check_augmented({5, 1, 28, 28, 0}, amounts);
    check_augmented({3, 2, 13, 7, 2}, amounts);
    check_augmented({2, 1, 1, 1, 0}, amounts);
    check_augmented({2, 3, 17, 31, 1}, amounts);
  }
}

TEST_CASE("augment: no amount at all gives the images as they are") {
  const Images images({4, 1, 9, 6, 0}, 4);
  const std::vector<float> result = augmented(images, {}, 1, 2);
  for (std::size_t i = 0; i < result.size(); ++i) {
    const std::size_t byte = std::size_t(images.order[i / 54]) * 54 + i % 54;
    CHECK(result[i] == doctest::Approx(double(images.pixels[byte]) / 255 - 0.25).epsilon(1e-6));
  }
}

TEST_CASE("augment: seed, epoch and sample decide, the place in the batch does not") {
  const Augmentation amounts{.shift = 2, .rotation_turns = 0.05f};
  Images images({3, 1, 11, 11, 0}, 5);
  images.order = {4, 1, 4};
  const std::vector<float> result = augmented(images, amounts, 1, 2);
  CHECK(std::vector<float>(result.begin(), result.begin() + 121) ==
        std::vector<float>(result.begin() + 242, result.end()));
  CHECK(augmented(images, amounts, 1, 2) == result);
  CHECK(augmented(images, amounts, 1, 3) != result);
  CHECK(augmented(images, amounts, 2, 2) != result);
}

TEST_CASE("augment: impossible amounts are refused with their values") {
  CHECK_THROWS_WITH_AS(gather_augmented({}, {}, {.scale = 1.5f}, 0, {}, {}, nullptr), doctest::Contains("1.5"),
                       InvalidArgument);
  CHECK_THROWS_AS(gather_augmented({}, {}, {.shift = -1}, 0, {}, {}, nullptr), InvalidArgument);
  CHECK_THROWS_AS(gather_augmented({.batch = 0}, {}, {.shift = 1}, 0, {}, {}, nullptr), InvalidArgument);
}
