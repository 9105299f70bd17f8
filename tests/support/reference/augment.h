// Plain loops in double: Philox as published, the distortion it draws, and bilinear reading of bytes.
#pragma once
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/augment.h"

namespace espalier::test {

using Words = std::array<std::uint32_t, 4>;

inline Words philox_reference(Words counter, std::uint64_t seed) {
  std::uint32_t key[2] = {std::uint32_t(seed), std::uint32_t(seed >> 32)};
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = 0xD2511F53ull * counter[0], b = 0xCD9E8D57ull * counter[2];
    counter = {std::uint32_t(b >> 32) ^ counter[1] ^ key[0], std::uint32_t(b),
               std::uint32_t(a >> 32) ^ counter[3] ^ key[1], std::uint32_t(a)};
    key[0] += 0x9E3779B9u, key[1] += 0xBB67AE85u;
  }
  return counter;
}

struct AugmentedInDouble {
  const kernels::GatherShape& shape;
  const std::vector<std::uint8_t>& pixels;
  double uniform[7];  // as drawn: shift x, shift y, angle, size, shear, square x, square y

  AugmentedInDouble(const kernels::GatherShape& of, const std::vector<std::uint8_t>& bytes, std::uint64_t seed,
                    std::uint64_t epoch, std::uint32_t sample)
      : shape(of), pixels(bytes), first_(std::size_t(sample) * std::size_t(of.pixels())) {
    for (std::uint32_t i = 0; i < 7; ++i) {
      const Words words =
          philox_reference({2 * sample + i / 4, 0, std::uint32_t(epoch), std::uint32_t(epoch >> 32)}, seed);
      uniform[i] = double(words[i % 4] >> 8) / double(1 << 24);
    }
  }

  double either_way(double amount, int which) const { return amount * (2 * uniform[which] - 1); }

  // The byte, between those of the image, that stands at (row, column) of the result.
  double operator()(const kernels::Augmentation& amounts, std::int64_t channel, std::int64_t row,
                    std::int64_t column) const {
    const double width = double(shape.out_width()), height = double(shape.out_height()), reach = amounts.erased - 1.0;
    const double left = std::floor(uniform[5] * (width + reach)) - reach;
    const double top = std::floor(uniform[6] * (height + reach)) - reach;
    const double x = double(column), y = double(row), side = amounts.erased;
    if (x >= left && x < left + side && y >= top && y < top + side) return 0;
    const double angle = 2 * std::acos(-1.0) * either_way(amounts.rotation_turns, 2);
    const double size = 1 + either_way(amounts.scale, 3), shear = either_way(amounts.shear, 4);
    const double from_x = x - (width - 1) / 2 - either_way(amounts.shift, 0);
    const double from_y = y - (height - 1) / 2 - either_way(amounts.shift, 1);
    const double sheared = from_x + shear * from_y;
    return read(channel, (std::cos(angle) * from_y - std::sin(angle) * sheared) / size + double(shape.height - 1) / 2,
                (std::cos(angle) * sheared + std::sin(angle) * from_y) / size + double(shape.width - 1) / 2);
  }

 private:
  double byte(std::int64_t channel, double y, double x) const {
    if (y < 0 || x < 0 || y >= double(shape.height) || x >= double(shape.width)) return 0;
    return pixels[first_ + std::size_t((channel * shape.height + std::int64_t(y)) * shape.width + std::int64_t(x))];
  }
  double read(std::int64_t channel, double y, double x) const {
    const double i = std::floor(y), j = std::floor(x), down = y - i, right = x - j;
    return (1 - down) * ((1 - right) * byte(channel, i, j) + right * byte(channel, i, j + 1)) +
           down * ((1 - right) * byte(channel, i + 1, j) + right * byte(channel, i + 1, j + 1));
  }
  std::size_t first_;
};

}  // namespace espalier::test
