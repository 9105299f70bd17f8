// Sparse views over guarded device memory, encoded by the kernels under test.
#pragma once
#include "kernels/sparse/encode.h"
#include "kernels/sparse/piece_csr.h"
#include "kernels/sparse/resident_csr.h"
#include "kernels/sparse/slab_csr.h"
#include "tests/support/sparse_problems.h"

namespace espalier::test {

struct CsrBuffers {
  CsrBuffers(std::int64_t rows, std::int64_t columns, const std::vector<float>& weight)
      : shape{rows, columns}, row_offsets(std::size_t(rows) + 1), column_indices(0), values(0) {
    const GuardedBuffer<float> dense(weight);
    kernels::csr_count(shape, dense.data(), row_offsets.data(), nullptr);
    const auto nonzeros = std::size_t(row_offsets.download().back());
    column_indices = GuardedBuffer<std::int32_t>(nonzeros);
    values = GuardedBuffer<float>(nonzeros);
    kernels::csr_fill(shape, dense.data(), row_offsets.data(), column_indices.data(), values.data(), nullptr);
  }
  kernels::CsrView view() const {
    return {shape.rows,         shape.columns,         std::int64_t(values.size()),
            row_offsets.data(), column_indices.data(), values.data()};
  }
  bool guards_intact() const {
    return row_offsets.guards_intact() && column_indices.guards_intact() && values.guards_intact();
  }
  kernels::WeightShape shape;
  GuardedBuffer<std::int32_t> row_offsets, column_indices;
  GuardedBuffer<float> values;
};

struct BlockCsrBuffers {
  BlockCsrBuffers(std::int64_t rows, std::int64_t columns, kernels::BlockShape block, const std::vector<float>& weight)
      : shape{rows, columns},
        block(block),
        row_offsets(std::size_t((rows + block.rows - 1) / block.rows) + 1),
        column_indices(0),
        values(0) {
    const GuardedBuffer<float> dense(weight);
    kernels::block_csr_count(shape, block, dense.data(), row_offsets.data(), nullptr);
    const auto blocks = std::size_t(row_offsets.download().back());
    column_indices = GuardedBuffer<std::int32_t>(blocks);
    values = GuardedBuffer<float>(blocks * std::size_t(block.rows * block.columns));
    kernels::block_csr_fill(shape, block, dense.data(), row_offsets.data(), column_indices.data(), values.data(),
                            nullptr);
  }
  kernels::BlockCsrView view() const {
    return {shape.rows,         shape.columns,         block.rows,   block.columns, std::int64_t(column_indices.size()),
            row_offsets.data(), column_indices.data(), values.data()};
  }
  bool guards_intact() const {
    return row_offsets.guards_intact() && column_indices.guards_intact() && values.guards_intact();
  }
  kernels::WeightShape shape;
  kernels::BlockShape block;
  GuardedBuffer<std::int32_t> row_offsets, column_indices;
  GuardedBuffer<float> values;
};

struct TwoFourBuffers {
  TwoFourBuffers(std::int64_t rows, std::int64_t columns, const std::vector<float>& weight)
      : shape{rows, columns},
        values(std::size_t(rows * kernels::TwoFourView{rows, columns}.values_per_row())),
        metadata(std::size_t(rows * kernels::TwoFourView{rows, columns}.words_per_row())) {
    const GuardedBuffer<float> dense(weight);
    kernels::two_four_encode(shape, dense.data(), values.data(), metadata.data(), nullptr);
  }
  kernels::TwoFourView view() const { return {shape.rows, shape.columns, values.data(), metadata.data()}; }
  bool guards_intact() const { return values.guards_intact() && metadata.guards_intact(); }
  kernels::WeightShape shape;
  GuardedBuffer<float> values;
  GuardedBuffer<std::uint32_t> metadata;
};

struct SlabCsrBuffers {
  // As many blocks as there must be, or more.
  SlabCsrBuffers(const CsrBuffers& csr, int warps, std::int64_t blocks = 0)
      : layout{csr.shape.rows, csr.shape.columns, warps,
               std::max(blocks, (csr.shape.rows + warps * kernels::SlabCsrView::kWarpRows - 1) /
                                    (warps * kernels::SlabCsrView::kWarpRows))},
        first_rows(std::size_t(layout.blocks + 1)),
        column_counts(std::size_t(layout.blocks)),
        block_columns(std::size_t(layout.blocks * layout.columns)),
        parts(std::size_t(layout.rows)),
        part_of(std::size_t(layout.places())),
        row_of(std::size_t(layout.places())),
        group_offsets(std::size_t(layout.quads() + 1)),
        counts(std::size_t(layout.count_words())),
        ring_rows(0),
        values(0) {
    GuardedBuffer<std::int64_t> scratch(std::size_t(kernels::slab_csr_scratch(layout)));
    kernels::slab_csr_count(
        csr.view(), layout,
        {first_rows.data(), column_counts.data(), block_columns.data(), parts.data(), part_of.data(), row_of.data()},
        counts.data(), group_offsets.data(), scratch.data(), nullptr);
    layout.group_count = group_offsets.download().back();
    for (const std::int32_t columns : column_counts.download()) layout.columns_taken += columns;
    ring_rows = GuardedBuffer<std::uint32_t>(std::size_t((layout.group_count + 1) * layout.kQuad));
    values = GuardedBuffer<float>(ring_rows.size() * std::size_t(layout.kSteps));
    kernels::slab_csr_fill(csr.view(), view(), values.data(), ring_rows.data(), scratch.data(), nullptr);
    scratch_intact = scratch.guards_intact();
  }
  kernels::SlabCsrView view() const {
    kernels::SlabCsrView view = layout;
    view.first_rows = first_rows.data(), view.parts = parts.data(), view.part_of = part_of.data();
    view.column_counts = column_counts.data(), view.block_columns = block_columns.data();
    view.row_of = row_of.data(), view.group_offsets = group_offsets.data(), view.counts = counts.data();
    view.values = values.data(), view.ring_rows = ring_rows.data();
    return view;
  }
  bool guards_intact() const {
    return scratch_intact && first_rows.guards_intact() && column_counts.guards_intact() &&
           block_columns.guards_intact() && parts.guards_intact() && part_of.guards_intact() &&
           row_of.guards_intact() && group_offsets.guards_intact() && counts.guards_intact() &&
           ring_rows.guards_intact() && values.guards_intact();
  }
  kernels::SlabCsrView layout;
  GuardedBuffer<std::int32_t> first_rows, column_counts;
  GuardedBuffer<std::uint16_t> block_columns;
  GuardedBuffer<std::uint32_t> parts;
  GuardedBuffer<std::uint16_t> part_of;
  GuardedBuffer<std::int32_t> row_of, group_offsets;
  GuardedBuffer<std::uint32_t> counts, ring_rows;
  GuardedBuffer<float> values;
  bool scratch_intact = false;
};

struct ResidentCsrBuffers {
  // `sizes` without pointers; its rows and columns are the weight's.
  ResidentCsrBuffers(const CsrBuffers& csr, const kernels::ResidentCsrView& sizes)
      : layout(sizes),
        segments(std::size_t((layout.chunks() + 1) * layout.rows)),
        row_of(std::size_t(layout.chunks() * layout.places())),
        group_offsets(std::size_t(layout.chunks() * layout.bundles() + 1)),
        values(0),
        chunk_columns(0) {
    kernels::resident_csr_count(csr.view(), layout, segments.data(), row_of.data(), group_offsets.data(), nullptr);
    layout.group_count = group_offsets.download().back();
    const std::int64_t groups = layout.group_count + layout.slices;
    values = GuardedBuffer<float>(std::size_t(groups * layout.bundle_rows() * layout.kSteps));
    chunk_columns = GuardedBuffer<std::uint16_t>(values.size());
    kernels::resident_csr_fill(csr.view(), view(), segments.data(), values.data(), chunk_columns.data(), nullptr);
  }
  kernels::ResidentCsrView view() const {
    kernels::ResidentCsrView view = layout;
    view.row_of = row_of.data(), view.group_offsets = group_offsets.data();
    view.values = values.data(), view.chunk_columns = chunk_columns.data();
    return view;
  }
  bool guards_intact() const {
    return segments.guards_intact() && row_of.guards_intact() && group_offsets.guards_intact() &&
           values.guards_intact() && chunk_columns.guards_intact();
  }
  kernels::ResidentCsrView layout;
  GuardedBuffer<std::int32_t> segments, row_of, group_offsets;
  GuardedBuffer<float> values;
  GuardedBuffer<std::uint16_t> chunk_columns;
};

template <class T>
struct PieceCsrBuffers {
  explicit PieceCsrBuffers(const CsrBuffers& csr)
      : shape(csr.shape), piece_offsets(std::size_t(shape.rows) + 1), column_indices(0), values(0) {
    kernels::piece_csr_count(csr.view(), piece_offsets.data(), nullptr);
    const auto places = std::size_t(piece_offsets.download().back()) * kernels::PieceCsrView<T>::kPiece;
    column_indices = GuardedBuffer<std::uint16_t>(places);
    values = GuardedBuffer<T>(places);
    kernels::piece_csr_fill(csr.view(), piece_offsets.data(), column_indices.data(), values.data(), nullptr);
  }
  kernels::PieceCsrView<T> view() const {
    return {shape.rows,           shape.columns,         std::int64_t(values.size()) / kernels::PieceCsrView<T>::kPiece,
            piece_offsets.data(), column_indices.data(), values.data()};
  }
  bool guards_intact() const {
    return piece_offsets.guards_intact() && column_indices.guards_intact() && values.guards_intact();
  }
  kernels::WeightShape shape;
  GuardedBuffer<std::int32_t> piece_offsets;
  GuardedBuffer<std::uint16_t> column_indices;
  GuardedBuffer<T> values;
};

}  // namespace espalier::test
