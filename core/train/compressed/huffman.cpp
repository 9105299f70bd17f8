#include "core/train/compressed/huffman.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <utility>

namespace espalier::compressed {
namespace {

constexpr int kLengthBits = 5;
static_assert(HuffmanCode::kLongest < 1 << kLengthBits, "a length must fit into its bits");

// Depth of each symbol in Huffman's tree. Of equal counts the older node goes first, so that the tree is one and only.
std::vector<std::uint8_t> tree_depths(const std::vector<std::uint64_t>& counts) {
  using Node = std::pair<std::uint64_t, std::size_t>;  // count, index into parents
  std::priority_queue<Node, std::vector<Node>, std::greater<>> open;
  std::vector<std::size_t> parents(counts.size());
  std::vector<std::uint8_t> depths(counts.size(), 0);
  for (std::size_t symbol = 0; symbol < counts.size(); ++symbol) {
    if (counts[symbol] > 0) open.emplace(counts[symbol], symbol);
  }
  if (open.size() == 1) depths[open.top().second] = 1;
  if (open.size() < 2) return depths;
  while (open.size() > 1) {
    const Node first = open.top();
    open.pop();
    const Node second = open.top();
    open.pop();
    parents[first.second] = parents[second.second] = parents.size();
    open.emplace(first.first + second.first, parents.size());
    parents.push_back(0);
  }
  std::vector<std::uint8_t> all(parents.size(), 0);  // a parent comes after its children; the root is the last
  for (std::size_t i = parents.size() - 1; i-- > 0;) all[i] = std::uint8_t(all[parents[i]] + 1);
  for (std::size_t symbol = 0; symbol < counts.size(); ++symbol) depths[symbol] = counts[symbol] ? all[symbol] : 0;
  return depths;
}

std::uint32_t reversed(std::uint32_t word, int bits) {
  std::uint32_t result = 0;
  for (int i = 0; i < bits; ++i) result |= (word >> i & 1) << (bits - 1 - i);
  return result;
}

}  // namespace

HuffmanCode::HuffmanCode(std::vector<std::uint8_t> lengths) : lengths_(std::move(lengths)), words_(lengths_.size()) {
  for (const std::uint8_t length : lengths_) count_[length] += length > 0;
  for (std::size_t length = 1; length <= kLongest; ++length) {
    first_word_[length] = (first_word_[length - 1] + count_[length - 1]) << 1;
    first_index_[length] = first_index_[length - 1] + count_[length - 1];
  }
  auto next = first_index_;
  by_length_.resize(
      std::size_t(std::count_if(lengths_.begin(), lengths_.end(), [](int length) { return length > 0; })));
  for (std::uint32_t symbol = 0; symbol < lengths_.size(); ++symbol) {
    const std::uint8_t length = lengths_[symbol];
    if (length == 0) continue;
    words_[symbol] = reversed(first_word_[length] + next[length] - first_index_[length], length);
    by_length_[next[length]++] = symbol;
  }
}

HuffmanCode HuffmanCode::of(std::vector<std::uint64_t> counts) {
  for (;;) {
    std::vector<std::uint8_t> lengths = tree_depths(counts);
    if (lengths.empty() || *std::max_element(lengths.begin(), lengths.end()) <= kLongest) {
      return HuffmanCode(std::move(lengths));
    }
    for (std::uint64_t& count : counts) count = (count + 1) / 2;  // flatter counts, a flatter tree
  }
}

bool HuffmanCode::complete() const {
  std::uint64_t used = 0;
  for (int length = 1; length <= kLongest; ++length) {
    used += std::uint64_t(count_[std::size_t(length)]) << (kLongest - length);
  }
  return used == std::uint64_t(1) << kLongest || by_length_.empty() || (by_length_.size() == 1 && count_[1] == 1);
}

void HuffmanCode::write(BitWriter& out) const {
  out.put_number(lengths_.size());
  for (std::size_t i = 0; i < lengths_.size();) {
    out.put(lengths_[i], kLengthBits);
    std::size_t run = 1;  // zeros come in runs
    if (lengths_[i] == 0) {
      while (i + run < lengths_.size() && lengths_[i + run] == 0) ++run;
      out.put_number(run);
    }
    i += run;
  }
}

HuffmanCode HuffmanCode::read(BitReader& in) {
  std::vector<std::uint8_t> lengths(in.take_number(kSymbols, "symbols"), 0);
  for (std::size_t i = 0; i < lengths.size();) {
    lengths[i] = std::uint8_t(in.take(kLengthBits));
    if (lengths[i] > kLongest) throw CheckpointError("a Huffman code word is said to be too long");
    i += lengths[i] > 0 ? 1 : std::max<std::size_t>(1, in.take_number(lengths.size() - i, "symbols without a code"));
  }
  const HuffmanCode code(std::move(lengths));
  if (!code.complete()) throw CheckpointError("its Huffman code words do not fit together");
  return code;
}

void HuffmanCode::put(std::uint32_t symbol, BitWriter& out) const {
  if (by_length_.size() > 1) out.put(words_[symbol], lengths_[symbol]);
}

std::uint32_t HuffmanCode::take(BitReader& in) const {
  if (by_length_.size() == 1) return by_length_[0];
  std::uint32_t word = 0;
  for (std::size_t length = 1; length <= kLongest; ++length) {
    word = word << 1 | std::uint32_t(in.take(1));
    const std::uint32_t place = word - first_word_[length];
    if (place < count_[length]) return by_length_[first_index_[length] + place];
  }
  throw CheckpointError("its Huffman code has no words");
}

std::vector<std::uint64_t> histogram(std::span<const std::uint32_t> values, std::size_t symbols) {
  std::vector<std::uint64_t> counts(symbols, 0);
  for (const std::uint32_t value : values) ++counts[value];
  return counts;
}

}  // namespace espalier::compressed
