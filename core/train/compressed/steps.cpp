#include "core/train/compressed/steps.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "core/train/compressed/huffman.h"

namespace espalier::compressed {
namespace {

enum class Coding : std::uint8_t { fixed, huffman, rice };
constexpr int kCodingBits = 2, kParameterBits = 6;
constexpr int kMostFixedBits = 20, kMostHuffmanBits = 12, kMostRiceBits = 40;

// The shortest way is near the size of the average step: that many bits fewer and more are tried.
constexpr int kFewerBits = 3, kMoreBits = 4;

// Elements that lie between a position and the one before it.
std::vector<std::uint64_t> gaps_of(const std::vector<std::int64_t>& positions) {
  std::vector<std::uint64_t> gaps;
  gaps.reserve(positions.size());
  std::int64_t next = 0;
  for (const std::int64_t position : positions) {
    gaps.push_back(std::uint64_t(position - next));
    next = position + 1;
  }
  return gaps;
}

// Symbols below 2^bits; the largest one stands for as many elements and says that the gap goes on.
std::vector<std::uint32_t> symbols_of(const std::vector<std::uint64_t>& gaps, int bits) {
  const std::uint64_t more = (std::uint64_t(1) << bits) - 1;
  std::vector<std::uint32_t> symbols;
  symbols.reserve(gaps.size());
  for (std::uint64_t gap : gaps) {
    for (; gap >= more; gap -= more) symbols.push_back(std::uint32_t(more));
    symbols.push_back(std::uint32_t(gap));
  }
  return symbols;
}

BitWriter headed(Coding coding, int parameter) {
  BitWriter out;
  out.put(std::uint64_t(coding), kCodingBits);
  out.put(std::uint64_t(parameter), kParameterBits);
  return out;
}

BitWriter write_fixed(const std::vector<std::uint64_t>& gaps, int bits) {
  BitWriter out = headed(Coding::fixed, bits);
  for (const std::uint32_t symbol : symbols_of(gaps, bits)) out.put(symbol, bits);
  return out;
}

BitWriter write_huffman(const std::vector<std::uint64_t>& gaps, int bits) {
  BitWriter out = headed(Coding::huffman, bits);
  const std::vector<std::uint32_t> symbols = symbols_of(gaps, bits);
  const HuffmanCode code = HuffmanCode::of(histogram(symbols, std::size_t(1) << bits));
  code.write(out);
  for (const std::uint32_t symbol : symbols) code.put(symbol, out);
  return out;
}

BitWriter write_rice(const std::vector<std::uint64_t>& gaps, int bits) {
  BitWriter out = headed(Coding::rice, bits);
  for (const std::uint64_t gap : gaps) {
    for (std::uint64_t quotient = gap >> bits; quotient > 0; --quotient) out.put(1, 1);
    out.put(0, 1);
    out.put(gap & ((std::uint64_t(1) << bits) - 1), bits);
  }
  return out;
}

// Symbols until one says that the gap ends, or until it is beyond the limit.
template <class Take>
std::uint64_t take_gap(std::uint64_t more, std::uint64_t limit, const Take& take) {
  std::uint64_t gap = 0, symbol = more;
  while (symbol == more && gap <= limit) gap += symbol = take();
  return gap;
}

std::uint64_t take_rice(int bits, std::uint64_t limit, BitReader& in) {
  std::uint64_t quotient = 0;
  while (in.take(1) == 1 && quotient <= limit) ++quotient;
  if (quotient > limit >> bits) return limit + 1;  // too far, whatever follows
  return quotient << bits | in.take(bits);
}

template <class TakeGap>
std::vector<std::int64_t> collect(std::uint64_t count, std::int64_t size, const TakeGap& take) {
  std::vector<std::int64_t> positions;
  positions.reserve(count);
  std::int64_t next = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t gap = take(std::uint64_t(size - next));
    if (gap >= std::uint64_t(size - next)) throw CheckpointError("a kept weight lies beyond the last one");
    positions.push_back(next + std::int64_t(gap));
    next = positions.back() + 1;
  }
  return positions;
}

}  // namespace

BitWriter write_steps(const std::vector<std::int64_t>& positions, bool huffman) {
  const std::vector<std::uint64_t> gaps = gaps_of(positions);
  BitWriter out;
  out.put_number(positions.size());
  if (positions.empty()) return out;
  const int width = int(std::bit_width(std::uint64_t(positions.back()) / positions.size()));  // of the average gap
  const int first = std::max(1, width - kFewerBits), last = width + kMoreBits;
  BitWriter best = write_fixed(gaps, std::min(width + 1, kMostFixedBits));
  const auto consider = [&](BitWriter other) {
    if (other.bits() < best.bits()) best = std::move(other);
  };
  for (int bits = first; bits <= std::min(last, kMostFixedBits); ++bits) consider(write_fixed(gaps, bits));
  for (int bits = first; huffman && bits <= std::min(last, kMostHuffmanBits); ++bits) {
    consider(write_huffman(gaps, bits));
  }
  for (int bits = first - 1; huffman && bits <= std::min(last, kMostRiceBits); ++bits) consider(write_rice(gaps, bits));
  out.append(best);
  return out;
}

std::vector<std::int64_t> read_steps(std::int64_t size, BitReader& in) {
  const std::uint64_t count = in.take_number(std::uint64_t(size), "kept weights");
  if (count == 0) return {};
  const auto coding = Coding(in.take(kCodingBits));
  const int bits = int(in.take(kParameterBits));
  const std::uint64_t more = (std::uint64_t(1) << std::min(bits, kMostRiceBits)) - 1;
  if (coding == Coding::fixed && bits >= 1 && bits <= kMostFixedBits) {
    return collect(count, size,
                   [&](std::uint64_t left) { return take_gap(more, left, [&] { return in.take(bits); }); });
  }
  if (coding == Coding::huffman && bits >= 1 && bits <= kMostHuffmanBits) {
    const HuffmanCode code = HuffmanCode::read(in);
    const auto symbol = [&] { return std::uint64_t(code.take(in)); };
    return collect(count, size, [&](std::uint64_t left) { return take_gap(more, left, symbol); });
  }
  if (coding == Coding::rice && bits <= kMostRiceBits) {
    return collect(count, size, [&](std::uint64_t left) { return take_rice(bits, left, in); });
  }
  throw CheckpointError("its steps are written in a way that is not known here");
}

}  // namespace espalier::compressed
