// IDX, the format of MNIST: 0 0, an element type, the rank, one big-endian 32-bit extent per axis, then the elements.
// Read plain or gzip-compressed (zlib tells them apart). Only unsigned bytes (type 0x08), all that MNIST and its kin
// use. A file that is short, long or lying about its size ends in one DataError that names it and tells what to do.
#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <vector>

namespace espalier::data {

struct DataError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct IdxArray {
  std::vector<std::int64_t> extents;  // outermost first
  std::vector<std::uint8_t> bytes;    // row-major
};

// Throws DataError unless the file holds exactly one array of the asked rank.
IdxArray read_idx(const std::filesystem::path& file, int rank);

// Uncompressed. Throws DataError when the file cannot be written.
void write_idx(const std::filesystem::path& file, const std::vector<std::int64_t>& extents,
               std::span<const std::uint8_t> bytes);

}  // namespace espalier::data
