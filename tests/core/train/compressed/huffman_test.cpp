// Huffman codes: what is written comes back, in as few bits as a prefix code can have, and no lengths but those of a
// whole code are read.
#include "core/train/compressed/huffman.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>

using namespace espalier;
using namespace espalier::compressed;

namespace {

// The symbols through code and back; the bits they took, without those of the code itself.
std::int64_t round_trip(const std::vector<std::uint32_t>& symbols, std::size_t alphabet) {
  const HuffmanCode code = HuffmanCode::of(histogram(symbols, alphabet));
  BitWriter out;
  code.write(out);
  const std::int64_t head = out.bits();
  for (const std::uint32_t symbol : symbols) code.put(symbol, out);
  const std::vector<std::byte> bytes = out.bytes();
  BitReader in(bytes);
  const HuffmanCode read = HuffmanCode::read(in);
  for (const std::uint32_t symbol : symbols) REQUIRE(read.take(in) == symbol);
  return out.bits() - head;
}

double entropy_bits(const std::vector<std::uint32_t>& symbols, std::size_t alphabet) {
  double bits = 0;
  for (const std::uint64_t count : histogram(symbols, alphabet)) {
    if (count > 0) bits -= double(count) * std::log2(double(count) / double(symbols.size()));
  }
  return bits;
}

HuffmanCode code_of_lengths(const std::vector<int>& lengths) {
  BitWriter out;
  out.put_number(lengths.size());
  for (const int length : lengths) out.put(std::uint64_t(length), 5);
  const std::vector<std::byte> bytes = out.bytes();
  BitReader in(bytes);
  return HuffmanCode::read(in);
}

}  // namespace

TEST_CASE("huffman: no symbol and one symbol cost nothing, two cost a bit each") {
  CHECK(round_trip({}, 0) == 0);
  CHECK(round_trip({}, 7) == 0);
  CHECK(round_trip({0}, 1) == 0);
  CHECK(round_trip(std::vector<std::uint32_t>(1000, 3), 9) == 0);
  CHECK(round_trip({5, 0, 0, 0, 5}, 6) == 5);
}

TEST_CASE("huffman: within a bit per symbol of the entropy, whatever the distribution") {
  std::mt19937 engine(1);
  for (const double skew : {0.0, 0.3, 1.0, 3.0}) {
    for (const std::size_t alphabet : {2u, 3u, 31u, 256u, 4096u}) {
      std::vector<double> weights;
      for (std::size_t i = 0; i < alphabet; ++i) weights.push_back(std::pow(double(i + 1), -skew));
      std::discrete_distribution<std::uint32_t> draw(weights.begin(), weights.end());
      std::vector<std::uint32_t> symbols(5000);
      for (auto& symbol : symbols) symbol = draw(engine);
      const std::int64_t bits = round_trip(symbols, alphabet);
      CHECK(double(bits) >= entropy_bits(symbols, alphabet) - 1e-6);
      CHECK(double(bits) <= entropy_bits(symbols, alphabet) + double(symbols.size()));
    }
  }
}

TEST_CASE("huffman: counts as skewed as can be still give words that fit") {
  std::vector<std::uint64_t> fibonacci{1, 1};
  while (fibonacci.size() < 60) fibonacci.push_back(fibonacci[fibonacci.size() - 1] + fibonacci[fibonacci.size() - 2]);
  const HuffmanCode code = HuffmanCode::of(fibonacci);
  BitWriter out;
  code.write(out);
  for (std::uint32_t symbol = 0; symbol < 60; ++symbol) {
    CHECK(code.length(symbol) <= HuffmanCode::kLongest);
    code.put(symbol, out);
  }
  const std::vector<std::byte> bytes = out.bytes();
  BitReader in(bytes);
  const HuffmanCode read = HuffmanCode::read(in);
  for (std::uint32_t symbol = 0; symbol < 60; ++symbol) CHECK(read.take(in) == symbol);
}

TEST_CASE("huffman: lengths that are no prefix code, or leave words without a meaning, are refused") {
  CHECK_NOTHROW(code_of_lengths({1, 2, 2}));
  CHECK_THROWS_WITH_AS(code_of_lengths({1, 1, 1}), doctest::Contains("do not fit together"), CheckpointError);
  CHECK_THROWS_WITH_AS(code_of_lengths({1, 2, 3}), doctest::Contains("do not fit together"), CheckpointError);
  CHECK_THROWS_WITH_AS(code_of_lengths({2}), doctest::Contains("do not fit together"), CheckpointError);
  CHECK_THROWS_WITH_AS(code_of_lengths({31, 1}), doctest::Contains("too long"), CheckpointError);
}

TEST_CASE("bits: numbers of every size come back, and the end is an end") {
  const std::vector<std::uint64_t> numbers{0, 1, 127, 128, 300, 1u << 20, (std::uint64_t(1) << 50) + 3};
  BitWriter out;
  out.put(5, 3);
  for (const std::uint64_t number : numbers) out.put_number(number);
  out.put_float(-0.1f);
  const std::vector<std::byte> bytes = out.bytes();
  BitReader in(bytes);
  CHECK(in.take(3) == 5);
  for (const std::uint64_t number : numbers) CHECK(in.take_number(UINT64_MAX, "things") == number);
  CHECK(in.take_float() == -0.1f);
  CHECK(in.left() < 8);
  CHECK_THROWS_WITH_AS(in.take(8), doctest::Contains("end too early"), CheckpointError);
  BitReader again(bytes);
  again.take(3);
  again.take_number(0, "things");
  CHECK_THROWS_WITH_AS(again.take_number(0, "things"), doctest::Contains("says 1 for its things"), CheckpointError);
}
