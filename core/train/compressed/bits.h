// A stream of bits, the first in the lowest place of the first byte: what a section of a compressed file is made of.
#pragma once
#include <bit>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/train/safetensors.h"

namespace espalier::compressed {

class BitWriter {
 public:
  void put(std::uint64_t value, int bits) {  // at most 56 of them; the value has no others
    pending_ |= value << filled_;
    for (filled_ += bits; filled_ >= 8; filled_ -= 8, pending_ >>= 8) bytes_.push_back(std::byte(pending_ & 0xFF));
  }
  void put_number(std::uint64_t value) {  // any, small ones in fewer bits: groups of 7, one more bit says "go on"
    for (; value >= 0x80; value >>= 7) put((value & 0x7F) | 0x80, 8);
    put(value, 8);
  }
  void put_float(float value) { put(std::bit_cast<std::uint32_t>(value), 32); }
  void append(const BitWriter& other) {
    for (const std::byte byte : other.bytes_) put(std::uint64_t(byte), 8);
    put(other.pending_, other.filled_);
  }
  std::int64_t bits() const { return 8 * std::int64_t(bytes_.size()) + filled_; }
  std::vector<std::byte> bytes() const {  // the last one filled up with zeros
    std::vector<std::byte> all = bytes_;
    if (filled_ > 0) all.push_back(std::byte(pending_));
    return all;
  }

 private:
  std::vector<std::byte> bytes_;
  std::uint64_t pending_ = 0;  // `filled_` bits, fewer than 8
  int filled_ = 0;
};

// Throws CheckpointError where the stream ends too early or a number exceeds what its place allows.
class BitReader {
 public:
  explicit BitReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::uint64_t take(int bits) {  // at most 56
    if (bits > left()) throw CheckpointError("its coded bits end too early");
    for (; filled_ < bits; filled_ += 8) pending_ |= std::uint64_t(bytes_[next_++]) << filled_;
    const std::uint64_t value = pending_ & ((std::uint64_t(1) << bits) - 1);
    pending_ >>= bits;
    filled_ -= bits;
    return value;
  }
  std::uint64_t take_number(std::uint64_t most, const char* of_what) {
    std::uint64_t value = 0, group = 0x80;
    for (int shift = 0; group >= 0x80; shift += 7) {
      if (shift > 56) throw CheckpointError(std::string("its number of ") + of_what + " has no end");
      group = take(8);
      value |= (group & 0x7F) << shift;
    }
    if (value <= most) return value;
    throw CheckpointError("says " + std::to_string(value) + " for its " + of_what + ", which may be " +
                          std::to_string(most) + " at most");
  }
  float take_float() { return std::bit_cast<float>(std::uint32_t(take(32))); }
  std::int64_t left() const { return 8 * std::int64_t(bytes_.size() - next_) + filled_; }

 private:
  std::span<const std::byte> bytes_;
  std::size_t next_ = 0;
  std::uint64_t pending_ = 0;  // `filled_` bits of what was read ahead
  int filled_ = 0;
};

}  // namespace espalier::compressed
