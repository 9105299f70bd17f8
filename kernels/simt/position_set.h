// A set of places in a block's order of execution: 1,024 bits, searched a word at a time.
#pragma once
#include <array>
#include <bit>
#include <cstdint>

namespace espalier::simt::detail {

class PositionSet {
 public:
  static constexpr unsigned kNone = ~0u;

  void insert(unsigned position) { words_[position / 64] |= bit(position); }
  void erase(unsigned position) { words_[position / 64] &= ~bit(position); }
  bool contains(unsigned position) const { return (words_[position / 64] & bit(position)) != 0; }
  void insert_run(unsigned first, std::uint32_t bits) { words_[first / 64] |= std::uint64_t{bits} << (first % 64); }
  void clear() { words_.fill(0); }

  // All of [begin, end).
  void assign(unsigned begin, unsigned end) {
    for (unsigned word = 0; word < kWords; ++word) {
      words_[word] = below(end, word) & ~below(begin, word);
    }
  }

  void erase_below(unsigned position) {
    for (unsigned word = 0; word < kWords; ++word) words_[word] &= ~below(position, word);
  }

  unsigned size() const {
    unsigned count = 0;
    for (const std::uint64_t word : words_) count += unsigned(std::popcount(word));
    return count;
  }

  unsigned first() const { return from(0); }

  // The next member after `position`, going round; itself last.
  unsigned after(unsigned position) const {
    const std::uint64_t rest = words_[position / 64] & ~below(position % 64 + 1, 0);
    if (rest != 0) return position / 64 * 64 + unsigned(std::countr_zero(rest));
    const unsigned later = from(position / 64 + 1);
    return later != kNone ? later : from(0);
  }

  unsigned before(unsigned position) const {  // kNone when there is no smaller member
    std::uint64_t rest = words_[position / 64] & below(position % 64, 0);
    for (unsigned word = position / 64;; rest = words_[--word]) {
      if (rest != 0) return word * 64 + 63 - unsigned(std::countl_zero(rest));
      if (word == 0) return kNone;
    }
  }

 private:
  static constexpr unsigned kWords = 16;
  static std::uint64_t bit(unsigned position) { return std::uint64_t{1} << (position % 64); }
  // The bits of `word` that stand for positions smaller than `position`.
  static std::uint64_t below(unsigned position, unsigned word) {
    if (position <= word * 64) return 0;
    return position >= word * 64 + 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << (position - word * 64)) - 1;
  }
  unsigned from(unsigned word) const {
    for (; word < kWords; ++word) {
      if (words_[word] != 0) return word * 64 + unsigned(std::countr_zero(words_[word]));
    }
    return kNone;
  }

  std::array<std::uint64_t, kWords> words_{};
};

}  // namespace espalier::simt::detail
