// A model's tensors as kept values only: what travels to where a pruned model runs. Bit-exact, or with --quantise as
// int8 or shared values; a checkpoint of the safetensors kind is read by other tools, this one is up to some hundred
// times smaller. Little-endian:
//   8 bytes "ESPALIER", u32 version, u32 sections, u32 crc32 of these 16 bytes
//   per section: u32 bytes that follow, u32 crc32 of that number and those bytes, then the bytes
// The first section holds the metadata (JSON, deflated), each other one a tensor (compressed/section.h). Any byte that
// is wrong or missing is found before a value is used.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/train/safetensors.h"

namespace espalier {

enum class ValueCoding : std::uint8_t { exact, int8, kmeans };

struct Compression {
  static constexpr int kMostBits = 8;
  ValueCoding values = ValueCoding::exact;  // of weights with two axes or more; the rest is few and stays exact
  int bits = 6;                             // of kmeans: at most 2^bits shared values per layer, 1 to kMostBits
  bool huffman = false;                     // codes and positions
};

// One tensor as a file holds it.
struct StoredLayer {
  std::string name;
  Shape shape;
  std::int64_t kept = 0;       // of shape.size() elements
  std::string layout, values;  // "csr steps", "32 shared, huffman"
  std::int64_t bytes = 0;      // in the file; with its mask, where that is stored beside
  std::int64_t dense_bytes = 0;
};

// Atomic: throws FileError and leaves what was there when the file cannot be written. Where `content` has a tensor
// mask/NAME, values of NAME that it removes are zero when the file is read.
void write_compressed(const std::filesystem::path& file, const Safetensors& content, const Compression& compression);

// Either kind of file, told apart by its first bytes. Throw CheckpointError naming file, place and reason.
Safetensors read_tensors(const std::filesystem::path& file);
std::vector<StoredLayer> stored_layers(const std::filesystem::path& file);

}  // namespace espalier
