// Image classification data ready for training: bytes on the device, split by role, with one normalisation.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/data/split.h"

namespace espalier::data {

// value = (byte / 255 - mean) / deviation
struct Normalisation {
  float mean = 0.0f, deviation = 1.0f;
  bool operator==(const Normalisation&) const = default;
};

enum class Scaling {
  standard,  // mean 0 and deviation 1 over the pixels of the training split
  min_max,   // byte 0 becomes 0.001 and byte 255 becomes 1: no input is zero
};

struct Options {
  std::int64_t validation = 0;  // samples carved from the training files
  std::uint64_t seed = 1;       // which ones
  Scaling scaling = Scaling::standard;
  std::optional<Normalisation> normalisation = std::nullopt;  // used instead: what a checkpoint was trained with
  std::int64_t padding = 0;                                   // zero bytes around each image; 2 makes MNIST 32 x 32
};

struct ImageData {
  std::string name;
  Normalisation normalisation;
  TrainSplit train;
  ValidationSplit validation;
  TestSplit test;
};

// Images as they come from a file: gray bytes and their classes.
struct ImageBytes {
  std::int64_t height = 0, width = 0;
  std::vector<std::uint8_t> pixels;  // [count, height, width]
  std::vector<std::uint8_t> labels;  // [count]
};

ImageData image_data(std::string name, const ImageBytes& train, const ImageBytes& test, std::int64_t classes,
                     const Options& options);

}  // namespace espalier::data
