// The arrangements of a Csr that kernels of a GPU want: SlabCsr, ResidentCsr and PieceCsr of format.h.
#include <algorithm>

#include "core/device/device_info.h"
#include "core/device/stream.h"
#include "kernels/require.h"
#include "kernels/sparse/piece_csr.h"
#include "kernels/sparse/resident_csr.h"
#include "kernels/sparse/slab_csr.h"
#include "pruning/format.h"

namespace espalier::pruning {
namespace {

template <class T>
constexpr DType kValueType = DType::f32;
template <>
constexpr DType kValueType<kernels::half> = DType::f16;
template <>
constexpr DType kValueType<kernels::bfloat16> = DType::bf16;

// Two samples share a word where x is read in 16 bits.
bool in_16_bits(Precision of_x) {
  require(of_x != Precision::tf32, "CSR: x is read in fp32, fp16 or bf16, not in tf32, which saves no bytes");
  return of_x != Precision::fp32;
}

// How uneven the rows are: nonzeros of the longest over those of a mean one.
double longest_over_mean(const Csr& csr) {
  const std::vector<std::int32_t> offsets = csr.row_offsets();
  std::int32_t longest = 0;
  for (std::size_t row = 1; row < offsets.size(); ++row) longest = std::max(longest, offsets[row] - offsets[row - 1]);
  return double(longest) * double(offsets.size() - 1) / std::max(1.0, double(offsets.back()));
}

}  // namespace

SlabCsr SlabCsr::encode(const Csr& csr, std::int64_t batch, Precision of_x) {
  const kernels::CsrView from = csr.view();
  SlabCsr slabs;
  slabs.of_x_ = of_x;
  kernels::SlabCsrView& layout = slabs.layout_;
  const auto layout_for = in_16_bits(of_x) ? kernels::slab_csr_layout<kernels::half> : kernels::slab_csr_layout<float>;
  layout = layout_for(from.rows, from.columns, batch, device_info().multiprocessors, longest_over_mean(csr));
  slabs.first_rows_ = Tensor::empty({layout.blocks + 1}, DType::i32);
  slabs.column_counts_ = Tensor::empty({layout.blocks}, DType::i32);
  slabs.block_columns_ = Tensor::empty({layout.blocks * layout.columns}, DType::u16);
  slabs.parts_ = Tensor::empty({layout.rows}, DType::u32);
  slabs.part_of_ = Tensor::empty({layout.places()}, DType::u16);
  slabs.row_of_ = Tensor::empty({layout.places()}, DType::i32);
  slabs.counts_ = Tensor::empty({layout.count_words()}, DType::u32);
  slabs.group_offsets_ = Tensor::empty({layout.quads() + 1}, DType::i32);
  const Tensor scratch = Tensor::empty({kernels::slab_csr_scratch(layout)}, DType::i64);
  const kernels::SlabCsrOrder order{
      slabs.first_rows_.data<std::int32_t>(),     slabs.column_counts_.data<std::int32_t>(),
      slabs.block_columns_.data<std::uint16_t>(), slabs.parts_.data<std::uint32_t>(),
      slabs.part_of_.data<std::uint16_t>(),       slabs.row_of_.data<std::int32_t>()};
  kernels::slab_csr_count(from, layout, order, slabs.counts_.data<std::uint32_t>(),
                          slabs.group_offsets_.data<std::int32_t>(), scratch.data<std::int64_t>(), current_stream());
  layout.group_count = slabs.group_offsets_.to_host_as<std::int32_t>().back();
  for (const std::int32_t columns : slabs.column_counts_.to_host_as<std::int32_t>()) layout.columns_taken += columns;
  const std::int64_t rows_of_groups = (layout.group_count + 1) * layout.kQuad;
  slabs.values_ = Tensor::empty({rows_of_groups * layout.kSteps});
  slabs.ring_rows_ = Tensor::empty({rows_of_groups}, DType::u32);
  kernels::slab_csr_fill(from, slabs.view(), slabs.values_.data<float>(), slabs.ring_rows_.data<std::uint32_t>(),
                         scratch.data<std::int64_t>(), current_stream());
  return slabs;
}

Tensor SlabCsr::decode() const {
  Tensor weight = Tensor::empty({layout_.rows, layout_.columns});
  kernels::slab_csr_decode(view(), weight.data<float>(), current_stream());
  return weight;
}

kernels::SlabCsrView SlabCsr::view() const {
  kernels::SlabCsrView view = layout_;
  view.first_rows = first_rows_.data<std::int32_t>();
  view.column_counts = column_counts_.data<std::int32_t>();
  view.block_columns = block_columns_.data<std::uint16_t>();
  view.parts = parts_.data<std::uint32_t>();
  view.part_of = part_of_.data<std::uint16_t>();
  view.row_of = row_of_.data<std::int32_t>();
  view.group_offsets = group_offsets_.data<std::int32_t>();
  view.counts = counts_.data<std::uint32_t>();
  view.values = values_.data<float>();
  view.ring_rows = ring_rows_.data<std::uint32_t>();
  return view;
}

ResidentCsr ResidentCsr::encode(const Csr& csr, std::int64_t batch, Precision of_x) {
  const kernels::CsrView from = csr.view();
  ResidentCsr panel;
  panel.of_x_ = of_x;
  kernels::ResidentCsrView& layout = panel.layout_;
  layout = kernels::resident_csr_layout(from, batch, {device_info().multiprocessors, shared_bytes_per_block()},
                                        in_16_bits(of_x) ? 2 : 1);
  const Tensor segments = Tensor::empty({(layout.chunks() + 1) * from.rows}, DType::i32);
  panel.row_of_ = Tensor::empty({layout.chunks() * layout.places()}, DType::i32);
  panel.group_offsets_ = Tensor::empty({layout.chunks() * layout.bundles() + 1}, DType::i32);
  kernels::resident_csr_count(from, layout, segments.data<std::int32_t>(), panel.row_of_.data<std::int32_t>(),
                              panel.group_offsets_.data<std::int32_t>(), current_stream());
  layout.group_count = panel.group_offsets_.to_host_as<std::int32_t>().back();
  const std::int64_t places = (layout.group_count + layout.slices) * layout.bundle_rows() * layout.kSteps;
  panel.values_ = Tensor::empty({places});
  panel.chunk_columns_ = Tensor::empty({places}, DType::u16);
  kernels::resident_csr_fill(from, panel.view(), segments.data<std::int32_t>(), panel.values_.data<float>(),
                             panel.chunk_columns_.data<std::uint16_t>(), current_stream());
  return panel;
}

Tensor ResidentCsr::decode() const {
  Tensor weight = Tensor::empty({layout_.rows, layout_.columns});
  kernels::resident_csr_decode(view(), weight.data<float>(), current_stream());
  return weight;
}

kernels::ResidentCsrView ResidentCsr::view() const {
  kernels::ResidentCsrView view = layout_;
  view.row_of = row_of_.data<std::int32_t>();
  view.group_offsets = group_offsets_.data<std::int32_t>();
  view.values = values_.data<float>();
  view.chunk_columns = chunk_columns_.data<std::uint16_t>();
  return view;
}

template <class T>
PieceCsr<T> PieceCsr<T>::encode(const Csr& csr) {
  const kernels::CsrView from = csr.view();
  PieceCsr pieces;
  kernels::PieceCsrView<T>& layout = pieces.layout_;
  layout.rows = from.rows, layout.columns = from.columns;
  pieces.piece_offsets_ = Tensor::empty({from.rows + 1}, DType::i32);
  kernels::piece_csr_count(from, pieces.piece_offsets_.template data<std::int32_t>(), current_stream());
  layout.pieces = pieces.piece_offsets_.template to_host_as<std::int32_t>().back();
  const std::int64_t places = (layout.pieces > 0 ? layout.pieces : 1) * layout.kPiece;
  pieces.column_indices_ = Tensor::empty({places}, DType::u16);
  pieces.values_ = Tensor::empty({places}, kValueType<T>);
  kernels::piece_csr_fill<T>(from, pieces.piece_offsets_.template data<std::int32_t>(),
                             pieces.column_indices_.template data<std::uint16_t>(),
                             static_cast<T*>(pieces.values_.raw()), current_stream());
  return pieces;
}

template <class T>
Tensor PieceCsr<T>::decode() const {
  Tensor weight = Tensor::empty({layout_.rows, layout_.columns});
  kernels::piece_csr_decode(view(), weight.data<float>(), current_stream());
  return weight;
}

template <class T>
kernels::PieceCsrView<T> PieceCsr<T>::view() const {
  kernels::PieceCsrView<T> view = layout_;
  view.piece_offsets = piece_offsets_.data<std::int32_t>();
  view.column_indices = column_indices_.data<std::uint16_t>();
  view.values = static_cast<const T*>(values_.raw());
  return view;
}

template class PieceCsr<float>;
template class PieceCsr<kernels::half>;
template class PieceCsr<kernels::bfloat16>;

}  // namespace espalier::pruning
