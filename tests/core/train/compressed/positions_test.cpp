// Positions of kept weights: every mask comes back bit for bit, in the layout that is smallest for it.
#include "core/train/compressed/positions.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>

using namespace espalier;
using namespace espalier::compressed;

namespace {

struct Written {
  std::string layout;
  std::int64_t bits;
};

Written round_trip(const std::vector<std::uint8_t>& keep, const Grid& grid, bool huffman) {
  BitWriter out;
  const Layout layout = write_positions(keep, grid, huffman, out);
  const std::vector<std::byte> bytes = out.bytes();
  BitReader in(bytes);
  const Positions read = read_positions(grid, in);
  CHECK(read.keep == keep);
  CHECK(read.layout.to_string() == layout.to_string());
  CHECK(in.left() < 8);
  return {layout.to_string(), out.bits()};
}

std::vector<std::uint8_t> random_mask(std::int64_t size, double density, unsigned seed) {
  std::mt19937 engine(seed);
  std::bernoulli_distribution alive(density);
  std::vector<std::uint8_t> keep(std::size_t(size), 0);
  for (auto& one : keep) one = alive(engine);
  return keep;
}

// Whole blocks, kept by chance.
std::vector<std::uint8_t> block_mask(const Grid& grid, std::int64_t rows, std::int64_t columns, double density) {
  const std::int64_t across = (grid.columns + columns - 1) / columns, down = (grid.rows + rows - 1) / rows;
  const std::vector<std::uint8_t> blocks = random_mask(across * down, density, 3);
  std::vector<std::uint8_t> keep;
  for (std::int64_t i = 0; i < grid.size(); ++i) {
    keep.push_back(blocks[std::size_t(i / grid.columns / rows * across + i % grid.columns / columns)]);
  }
  return keep;
}

}  // namespace

TEST_CASE("positions: random masks of every density and odd size come back") {
  for (const Grid grid : {Grid{1, 1}, Grid{1, 7}, Grid{7, 1}, Grid{13, 31}, Grid{20, 25, 25}, Grid{64, 333}}) {
    for (const double density : {0.0, 0.002, 0.05, 0.3, 0.9, 1.0}) {
      for (const bool huffman : {false, true}) {
        for (unsigned seed = 1; seed < 4; ++seed) round_trip(random_mask(grid.size(), density, seed), grid, huffman);
      }
    }
  }
}

TEST_CASE("positions: a single kept weight at any place comes back") {
  const Grid grid{5, 40};
  for (std::size_t place = 0; place < 200; ++place) {
    std::vector<std::uint8_t> keep(200, 0);
    keep[place] = 1;
    for (const bool huffman : {false, true}) CHECK(round_trip(keep, grid, huffman).bits < 40);
  }
}

TEST_CASE("positions: full and empty layers cost almost nothing") {
  const Grid grid{500, 800};
  CHECK(round_trip(std::vector<std::uint8_t>(400'000, 1), grid, false).bits == 2);
  CHECK(round_trip(std::vector<std::uint8_t>(400'000, 0), grid, false).bits <= 16);
}

TEST_CASE("positions: the layout that suits the mask is taken") {
  const Grid grid{64, 256};
  CHECK(round_trip(random_mask(grid.size(), 0.5, 1), grid, true).layout == "bitmap");
  CHECK(round_trip(random_mask(grid.size(), 0.02, 1), grid, false).layout == "csr steps");
  CHECK(round_trip(block_mask(grid, 8, 8, 0.3), grid, false).layout == "blocks 8x8");
  CHECK(round_trip(block_mask(grid, 1, 256, 0.5), grid, false).layout == "blocks 1x256");
  CHECK(round_trip(block_mask({20, 225, 9}, 1, 9, 0.3), {20, 225, 9}, true).layout == "blocks 1x9");
  CHECK(round_trip(block_mask({61, 250}, 8, 16, 0.3), {61, 250}, true).layout == "blocks 8x16");  // they stick out
}

TEST_CASE("positions: random steps stay within 5 % of the entropy of their mask") {
  const Grid grid{500, 800};
  for (const double density : {0.002, 0.01, 0.1}) {
    const std::vector<std::uint8_t> keep = random_mask(grid.size(), density, 5);
    const double kept = double(std::count(keep.begin(), keep.end(), 1)), size = double(grid.size()), p = kept / size;
    const double entropy = -size * (p * std::log2(p) + (1 - p) * std::log2(1 - p));
    CHECK(double(round_trip(keep, grid, true).bits) < 1.05 * entropy);
    CHECK(double(round_trip(keep, grid, false).bits) < 1.35 * entropy);
  }
}

TEST_CASE("positions: bits at random are read or refused, never trusted") {
  std::mt19937 engine(1);
  const Grid grid{9, 50, 5};
  for (int i = 0; i < 20'000; ++i) {
    std::vector<std::byte> bytes(std::size_t(1 + engine() % 40));
    for (auto& byte : bytes) byte = std::byte(engine() >> 7);
    BitReader in(bytes);
    try {
      const Positions read = read_positions(grid, in);
      CHECK(read.keep.size() == 450);
    } catch (const CheckpointError&) {
    }
  }
}
