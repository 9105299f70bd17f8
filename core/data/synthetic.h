// A digit task made from a seed: seven-segment digits of random place, size, slant, stroke and brightness on a noisy
// ground. It needs no download, a small network learns it within seconds, and it is hard enough that a broken gradient
// shows in its accuracy.
#pragma once
#include <cstdint>
#include <filesystem>

#include "core/data/image_data.h"

namespace espalier::data {

struct SyntheticShape {
  std::int64_t train = 2000, test = 500;
  std::int64_t height = 28, width = 28;  // at least 12 each
  std::uint64_t seed = 1;
  double noise = 0.15;  // deviation of the ground, as a fraction of full brightness
};

ImageBytes synthetic_digits(std::int64_t count, const SyntheticShape& shape, std::uint64_t stream);
ImageData synthetic(const SyntheticShape& shape = {}, const Options& options = {});

// The same as four IDX files, named like MNIST's: whatever reads MNIST reads these.
void write_synthetic(const std::filesystem::path& folder, const SyntheticShape& shape = {});

}  // namespace espalier::data
