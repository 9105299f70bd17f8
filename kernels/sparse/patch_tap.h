// An entry of the tables by which convolutions of sparse weights on tensor cores gather their patches.
#pragma once
#include <cstdint>

namespace espalier::kernels {

// Where a pixel finds 16 bytes of its patch: units of 16 bytes from the patch's origin, and a bit for the tap's row and
// its column, which must not miss the image.
struct alignas(8) PatchTap {
  std::int32_t chunk;
  std::uint32_t wanted;
};

}  // namespace espalier::kernels
