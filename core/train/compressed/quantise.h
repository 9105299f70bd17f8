// Values as codes of a few bits. k-means: the values of a layer share 2^bits centroids, found by Lloyd's iterations
// from centroids spread evenly between the smallest and the largest value: Han et al., Deep Compression, 2016, arXiv
// 1510.00149, section 3, where this start keeps the few large weights that matter most; centroids that end up without a
// value move to where the error is largest. int8: multiples of one scale.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace espalier::compressed {

struct SharedValues {
  std::vector<float> codebook;       // ascending
  std::vector<std::uint32_t> codes;  // [values]
};

// At most 2^bits shared values; where the values have no more than that, they are kept as they are. All finite.
SharedValues kmeans(std::span<const float> values, int bits);

struct ScaledValues {
  static constexpr std::uint32_t kZero = 127, kCodes = 255;  // codes 0 to 254 stand for -127 to 127 times the scale
  float scale = 0;
  std::vector<std::uint32_t> codes;  // [values]
  static float value(std::uint32_t code, float scale) { return (float(code) - float(kZero)) * scale; }
};
ScaledValues scaled_to_int8(std::span<const float> values);  // all finite

}  // namespace espalier::compressed
