// One tensor as a section of a compressed file: name, type and shape; where its kept values are (positions.h); and the
// values, exact, as int8 multiples of a scale or as shared values (quantise.h), their codes at will Huffman-coded. A
// mask is not stored beside its weight: the positions are the mask.
#pragma once
#include <optional>

#include "core/train/compressed/positions.h"
#include "core/train/compressed_file.h"

namespace espalier::compressed {

struct Section {
  std::string name;
  StoredTensor tensor;
  std::optional<StoredTensor> mask;  // u8, of the same shape
  StoredLayer report;
};

// `mask` may be null. Only values that it keeps are stored; without one, those that are not zero.
std::vector<std::byte> encode(const std::string& name, const StoredTensor& tensor, const StoredTensor* mask,
                              const Compression& compression);
Section decode(std::span<const std::byte> bytes);  // throws CheckpointError

}  // namespace espalier::compressed
