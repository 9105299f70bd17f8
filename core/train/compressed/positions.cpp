#include "core/train/compressed/positions.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "core/train/compressed/steps.h"

namespace espalier::compressed {
namespace {

constexpr int kKindBits = 2;
constexpr std::array<std::int64_t, 6> kBlockSides{1, 2, 4, 8, 16, 32};

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Blocks over a weight; those at its end may stick out.
struct Blocks {
  std::int64_t rows, columns;
  std::int64_t across(const Grid& grid) const { return ceil_div(grid.columns, columns); }
  std::int64_t count(const Grid& grid) const { return ceil_div(grid.rows, rows) * across(grid); }
  // visit(begin, length) for each run of neighbouring elements of a block.
  template <class Visit>
  void for_each_run(const Grid& grid, std::int64_t block, const Visit& visit) const {
    const std::int64_t row = block / across(grid) * rows, column = block % across(grid) * columns;
    const std::int64_t length = std::min(columns, grid.columns - column);
    for (std::int64_t r = row; r < std::min(row + rows, grid.rows); ++r) visit(r * grid.columns + column, length);
  }
};

// The blocks that are kept, or nothing where one is kept in part.
std::optional<std::vector<std::int64_t>> kept_blocks(std::span<const std::uint8_t> keep, const Grid& grid,
                                                     const Blocks& blocks) {
  std::vector<std::int64_t> kept;
  for (std::int64_t block = 0; block < blocks.count(grid); ++block) {
    std::int64_t elements = 0, alive = 0;
    blocks.for_each_run(grid, block, [&](std::int64_t begin, std::int64_t length) {
      elements += length;
      alive += std::count(keep.begin() + begin, keep.begin() + begin + length, 1);
    });
    if (alive != 0 && alive != elements) return std::nullopt;
    if (alive > 0) kept.push_back(block);
  }
  return kept;
}

std::vector<std::int64_t> kept_elements(std::span<const std::uint8_t> keep) {
  std::vector<std::int64_t> positions;
  for (std::size_t i = 0; i < keep.size(); ++i) {
    if (keep[i]) positions.push_back(std::int64_t(i));
  }
  return positions;
}

BitWriter of_kind(Layout::Kind kind) {
  BitWriter out;
  out.put(std::uint64_t(kind), kKindBits);
  return out;
}

BitWriter bitmap(std::span<const std::uint8_t> keep) {
  BitWriter out = of_kind(Layout::Kind::bitmap);
  for (const std::uint8_t one : keep) out.put(one, 1);
  return out;
}

// Sides worth trying: powers of two, a channel's patch, a whole row, all rows.
std::vector<Blocks> block_shapes(const Grid& grid) {
  std::vector<std::int64_t> rows(kBlockSides.begin(), kBlockSides.end()), columns = rows;
  rows.push_back(grid.rows);
  columns.insert(columns.end(), {grid.patch, grid.columns});
  std::vector<Blocks> shapes;
  for (const std::int64_t r : rows) {
    for (const std::int64_t c : columns) {
      if (r * c > 1 && r <= grid.rows && c <= grid.columns) shapes.push_back({r, c});
    }
  }
  return shapes;
}

}  // namespace

Grid grid_of(const Shape& shape) {
  if (shape.rank() < 2) return {1, shape.size(), 1};
  return {shape[0], shape.size() / shape[0], shape.rank() > 2 ? shape.size() / shape[0] / shape[1] : 1};
}

std::string Layout::to_string() const {
  if (kind == Kind::blocks) return fmt::format("blocks {}x{}", block_rows, block_columns);
  return kind == Kind::all ? "dense" : kind == Kind::bitmap ? "bitmap" : "csr steps";
}

Layout write_positions(std::span<const std::uint8_t> keep, const Grid& grid, bool huffman, BitWriter& out) {
  const std::vector<std::int64_t> kept = kept_elements(keep);
  if (kept.size() == keep.size()) {
    out.append(of_kind(Layout::Kind::all));
    return {Layout::Kind::all};
  }
  Layout layout{Layout::Kind::bitmap};
  BitWriter best = bitmap(keep);
  const auto consider = [&](const Layout& other, BitWriter coded) {
    if (coded.bits() < best.bits()) layout = other, best = std::move(coded);
  };
  BitWriter steps = of_kind(Layout::Kind::steps);
  steps.append(write_steps(kept, huffman));
  consider({Layout::Kind::steps}, std::move(steps));
  for (const Blocks& blocks : block_shapes(grid)) {
    if (kept.empty()) break;
    const auto whole = kept_blocks(keep, grid, blocks);
    if (!whole) continue;
    BitWriter list = of_kind(Layout::Kind::blocks);
    list.put_number(std::uint64_t(blocks.rows));
    list.put_number(std::uint64_t(blocks.columns));
    list.append(write_steps(*whole, huffman));
    consider({Layout::Kind::blocks, blocks.rows, blocks.columns}, std::move(list));
  }
  out.append(best);
  return layout;
}

Positions read_positions(const Grid& grid, BitReader& in) {
  Positions read{{Layout::Kind(in.take(kKindBits))}, std::vector<std::uint8_t>(std::size_t(grid.size()), 0)};
  std::vector<std::uint8_t>& keep = read.keep;
  switch (read.layout.kind) {
    case Layout::Kind::all:
      keep.assign(keep.size(), 1);
      break;
    case Layout::Kind::bitmap:
      for (std::uint8_t& one : keep) one = std::uint8_t(in.take(1));
      break;
    case Layout::Kind::steps:
      for (const std::int64_t position : read_steps(grid.size(), in)) keep[std::size_t(position)] = 1;
      break;
    case Layout::Kind::blocks: {
      const Blocks blocks{std::int64_t(in.take_number(std::uint64_t(grid.rows), "rows of a block")),
                          std::int64_t(in.take_number(std::uint64_t(grid.columns), "columns of a block"))};
      if (blocks.rows < 1 || blocks.columns < 1) throw CheckpointError("its blocks are empty");
      read.layout.block_rows = blocks.rows, read.layout.block_columns = blocks.columns;
      for (const std::int64_t block : read_steps(blocks.count(grid), in)) {
        blocks.for_each_run(grid, block, [&](std::int64_t begin, std::int64_t length) {
          std::fill_n(keep.begin() + begin, length, std::uint8_t(1));
        });
      }
      break;
    }
  }
  return read;
}

}  // namespace espalier::compressed
