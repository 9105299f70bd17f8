// gather_batch() with each image distorted on the way, anew in each epoch: turned, scaled, sheared and shifted by
// random amounts (bilinear in the bytes, zero bytes outside) and a random square erased. A pixel costs about 40 flops
// and reads four bytes out of the cache, so the batch is written at the price of the plain gather plus arithmetic, no
// distorted image is ever stored, and nothing but (seed, epoch, sample) decides the amounts: a resumed run sees the
// same images. Simard, Steinkraus and Platt, Best Practices for Convolutional Neural Networks, ICDAR 2003 (affine
// part); erasing: DeVries and Taylor, arXiv:1708.04552.
#pragma once
#include "kernels/gather.h"

namespace espalier::kernels {

// Each amount is uniform between its negative and itself; 0 leaves that out.
struct Augmentation {
  float shift = 0;           // pixels, along each axis
  float rotation_turns = 0;  // of a full turn, below 0.5
  float scale = 0;           // of the size: 0.1 gives 0.9 to 1.1 times; below 1
  float shear = 0;           // pixels sideways per line
  std::int32_t erased = 0;   // side of the square that becomes zero bytes, at a random place, partly outside too

  constexpr bool any() const { return shift != 0 || rotation_turns != 0 || scale != 0 || shear != 0 || erased != 0; }
  bool operator==(const Augmentation&) const = default;
};

// The pixel at (x, y) from the centre of the result is read at M ((x, y) - shift) from the centre of the image, where
// M = 1 / size * [cos, sin; -sin, cos] * [1, shear; 0, 1]. The numbers are Philox's words of stream (seed, epoch) at
// positions 2 * sample and 2 * sample + 1: shift x, shift y, angle, size; shear, square x, square y.
void gather_augmented(const GatherShape& shape, PixelScale scale, const Augmentation& amounts, std::uint64_t seed,
                      const SampleSource& source, const BatchOutputs& batch, cudaStream_t stream);

}  // namespace espalier::kernels
