// Ascending positions as the steps between them, coded the shortest way; see positions.h.
#pragma once
#include <cstdint>
#include <vector>

#include "core/train/compressed/bits.h"

namespace espalier::compressed {

BitWriter write_steps(const std::vector<std::int64_t>& positions, bool huffman);
// All of them below `size`; throws CheckpointError.
std::vector<std::int64_t> read_steps(std::int64_t size, BitReader& in);

}  // namespace espalier::compressed
