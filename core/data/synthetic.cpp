// Each pixel's brightness falls off with its distance from the nearest lit segment, which gives soft strokes of any
// width without drawing code.
#include "core/data/synthetic.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <random>

#include "core/data/idx.h"
#include "kernels/require.h"

namespace espalier::data {
namespace {

constexpr std::int64_t kDigits = 10;
struct Segment {
  float x0, y0, x1, y1;
};
// Unit square, y down: top, upper left, upper right, middle, lower left, lower right, bottom.
constexpr std::array<Segment, 7> kSegments{
    {{0, 0, 1, 0}, {0, 0, 0, 1}, {1, 0, 1, 1}, {0, 1, 1, 1}, {0, 1, 0, 2}, {1, 1, 1, 2}, {0, 2, 1, 2}}};
constexpr std::array<std::uint8_t, kDigits> kLit{0b1110111, 0b0100100, 0b1011101, 0b1101101, 0b0101110,
                                                  0b1101011, 0b1111011, 0b0100101, 0b1111111, 0b1101111};

class Draw {  // portable: the engine's bits are standardised, the library's distributions are not
 public:
  explicit Draw(std::uint64_t seed, std::uint64_t stream) {
    std::seed_seq sequence{std::uint32_t(seed), std::uint32_t(seed >> 32), std::uint32_t(stream), 0x5E65u};
    engine_.seed(sequence);
  }
  float uniform(float low, float high) { return low + (high - low) * float(engine_() >> 40) * 0x1p-24f; }
  float noise() { return uniform(-1, 1) + uniform(-1, 1) + uniform(-1, 1); }  // deviation 1, bounded by 3
  int below(int count) { return int((engine_() >> 32) * std::uint64_t(count) >> 32); }

 private:
  std::mt19937_64 engine_;
};

float distance(const Segment& segment, float x, float y) {
  const float dx = segment.x1 - segment.x0, dy = segment.y1 - segment.y0;
  const float along = std::clamp((x - segment.x0) * dx + (y - segment.y0) * dy, 0.0f, 1.0f);  // segments have length 1
  return std::hypot(x - segment.x0 - along * dx, y - segment.y0 - along * dy);
}

void draw_digit(int digit, const SyntheticShape& shape, Draw& draw, std::uint8_t* image) {
  const float height = float(shape.height), width = float(shape.width);
  const float size = draw.uniform(0.27f, 0.36f) * std::min(height, width);  // of one segment, in pixels
  const float left = (width - size) / 2 + draw.uniform(-0.12f, 0.12f) * width;
  const float top = (height - 2 * size) / 2 + draw.uniform(-0.1f, 0.1f) * height;
  const float slant = draw.uniform(-0.25f, 0.25f), stroke = draw.uniform(0.10f, 0.22f);
  const float brightness = draw.uniform(0.6f, 1.0f), noise = float(shape.noise);
  for (std::int64_t row = 0; row < shape.height; ++row) {
    for (std::int64_t column = 0; column < shape.width; ++column) {
      const float y = (float(row) + 0.5f - top) / size;
      const float x = (float(column) + 0.5f - left) / size + slant * (y - 1);
      float nearest = 1e9f;
      for (std::size_t s = 0; s < kSegments.size(); ++s) {
        if (kLit[std::size_t(digit)] >> s & 1) nearest = std::min(nearest, distance(kSegments[s], x, y));
      }
      const float ink = brightness * std::clamp(1.5f - nearest / stroke, 0.0f, 1.0f) + noise * draw.noise();
      image[row * shape.width + column] = std::uint8_t(255 * std::clamp(ink, 0.0f, 1.0f));
    }
  }
}

}  // namespace

ImageBytes synthetic_digits(std::int64_t count, const SyntheticShape& shape, std::uint64_t stream) {
  require(count >= 1 && shape.height >= 12 && shape.width >= 12, "synthetic: ", count, " images of ", shape.height,
          " x ", shape.width, "; digits need at least 12 x 12");
  Draw draw(shape.seed, stream);
  ImageBytes images{shape.height, shape.width, {}, {}};
  images.pixels.resize(std::size_t(count * shape.height * shape.width));
  for (std::int64_t i = 0; i < count; ++i) {
    images.labels.push_back(std::uint8_t(draw.below(kDigits)));
    draw_digit(images.labels.back(), shape, draw, images.pixels.data() + i * shape.height * shape.width);
  }
  return images;
}

ImageData synthetic(const SyntheticShape& shape, const Options& options) {
  return image_data("synthetic", synthetic_digits(shape.train, shape, 0), synthetic_digits(shape.test, shape, 1),
                    kDigits, options);
}

void write_synthetic(const std::filesystem::path& folder, const SyntheticShape& shape) {
  std::filesystem::create_directories(folder);
  for (const bool training : {true, false}) {
    const ImageBytes images = synthetic_digits(training ? shape.train : shape.test, shape, training ? 0 : 1);
    const std::string role = training ? "train" : "t10k";
    const std::int64_t count = std::int64_t(images.labels.size());
    write_idx(folder / (role + "-images-idx3-ubyte"), {count, shape.height, shape.width}, images.pixels);
    write_idx(folder / (role + "-labels-idx1-ubyte"), {count}, images.labels);
  }
}

}  // namespace espalier::data
