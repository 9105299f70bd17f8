// Canonical Huffman codes: symbols that occur often get short code words, and the lengths alone, which is all that is
// stored, say which. Within half a bit or so of the entropy; a code of one symbol costs no bits at all. Huffman, A
// Method for the Construction of Minimum-Redundancy Codes, 1952; Han et al., Deep Compression, 2016, arXiv 1510.00149,
// section 4.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/train/compressed/bits.h"

namespace espalier::compressed {

class HuffmanCode {
 public:
  static constexpr int kLongest = 24;                  // bits of a code word
  static constexpr std::uint64_t kSymbols = 1u << 16;  // of an alphabet, at most

  static HuffmanCode of(std::vector<std::uint64_t> counts);  // of each symbol; 0: it never occurs and gets no code
  static HuffmanCode read(BitReader& in);                    // throws CheckpointError where the lengths make no code
  void write(BitWriter& out) const;

  void put(std::uint32_t symbol, BitWriter& out) const;  // one that occurs
  std::uint32_t take(BitReader& in) const;
  int length(std::uint32_t symbol) const { return lengths_[symbol]; }

 private:
  explicit HuffmanCode(std::vector<std::uint8_t> lengths);
  bool complete() const;  // each sequence of bits is a sequence of code words

  std::vector<std::uint8_t> lengths_;     // [symbols]; 0: no code
  std::vector<std::uint32_t> words_;      // [symbols], the first bit lowest
  std::vector<std::uint32_t> by_length_;  // symbols, the shortest code words first
  std::array<std::uint32_t, kLongest + 1> count_{}, first_word_{}, first_index_{};  // of each length
};

// How often each of `symbols` values occurs.
std::vector<std::uint64_t> histogram(std::span<const std::uint32_t> values, std::size_t symbols);

}  // namespace espalier::compressed
