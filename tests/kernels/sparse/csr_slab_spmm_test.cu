// CSR arranged by slabs: nothing is lost, little is padded, and its product is the dense one with zeros, in double.
#include "kernels/sparse/csr_slab_spmm.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "kernels/require.h"
#include "tests/support/narrow.h"
#include "tests/support/sparse_buffers.h"
#include "tests/support/sparse_product.h"

namespace espalier::test {
namespace {

using kernels::Activation;
using kernels::bfloat16;
using kernels::CsrView;
using kernels::half;
using kernels::SlabCsrView;

struct Problem {
  std::int64_t batch, rows, columns;
  double sparsity = 0.9;
  int warps = 2;
  Activation activation = Activation::none;
  bool with_bias = true;
};

template <class T = float>
void check(const Problem& problem, const std::vector<float>& weight) {
  CAPTURE(sizeof(T));
  CAPTURE(problem.batch);
  CAPTURE(problem.rows);
  CAPTURE(problem.columns);
  CAPTURE(problem.sparsity);
  CAPTURE(problem.warps);
  const CsrBuffers csr(problem.rows, problem.columns, weight);
  const SlabCsrBuffers slabs(csr, problem.warps);
  CHECK(slabs.guards_intact());
  check_sparse_product<T>(
      problem, weight, kernels::csr_slab_panels<T>(problem.batch, problem.columns).elements(),
      [&](const float* x, const auto& epilogue, float* y, T* panels) {
        kernels::csr_slab_spmm(problem.batch, slabs.view(), x, epilogue, y, panels, nullptr);
      },
      as_read<T>);
}

// With x read as it is, and in 16 bits.
void check(const Problem& problem) {
  const auto weight = uneven_weight(problem.rows, problem.columns, problem.sparsity, 3);
  check<float>(problem, weight);
  if (problem.warps > kernels::slab_csr_warps<half>()) return;
  check<half>(problem, weight);
  check<bfloat16>(problem, weight);
}

std::vector<float> decoded(const SlabCsrView& view) {
  GuardedBuffer<float> weight(std::size_t(view.rows * view.columns));
  kernels::slab_csr_decode(view, weight.data(), nullptr);
  CHECK(weight.guards_intact());
  return weight.download();
}

// Groups of the warp with most of them.
double busiest_over_mean(const SlabCsrBuffers& slabs) {
  const auto groups = slabs.group_offsets.download();
  std::int32_t most = 0;
  for (std::size_t quad = 4; quad < groups.size(); quad += 4) most = std::max(most, groups[quad] - groups[quad - 4]);
  return double(most) * double(slabs.layout.all_warps()) / double(slabs.layout.group_count);
}

TEST_CASE("slab csr: decode(encode(w)) == w at odd sizes, around a slab and a ring, with empty and full rows") {
  for (const std::int64_t columns : {1, 2, 62, 63, 64, 189, 252, 253, 520}) {
    for (const std::int64_t rows : {1, 17, 50}) {
      for (const double sparsity : {0.0, 0.9, 1.0}) {
        CAPTURE(rows);
        CAPTURE(columns);
        CAPTURE(sparsity);
        const auto weight = sparse_weight(rows, columns, sparsity, unsigned(rows + columns));
        CHECK(decoded(SlabCsrBuffers({rows, columns, weight}, 2).view()) == weight);
      }
      const auto weight = uneven_weight(rows, columns, 0.8, unsigned(rows));
      CHECK(decoded(SlabCsrBuffers({rows, columns, weight}, 3).view()) == weight);
    }
  }
}

TEST_CASE("slab csr: without places to spare every row has one, and blocks have like shares of the nonzeros") {
  const std::int64_t rows = 70, columns = 300;
  const CsrBuffers csr(rows, columns, uneven_weight(rows, columns, 0.8, 5));
  const SlabCsrBuffers slabs(csr, 2, 3);
  std::vector<std::int32_t> places = slabs.row_of.download();
  CHECK(places.size() == 96);
  const std::vector<std::int32_t> first = slabs.first_rows.download(), offsets = csr.row_offsets.download();
  CHECK(first.front() == 0);
  CHECK(first.back() == rows);
  for (std::size_t block = 0; block < 3; ++block) {
    const double share = double(offsets[std::size_t(first[block + 1])] - offsets[std::size_t(first[block])]);
    CHECK(share / double(csr.view().nonzeros) > 0.28);
    for (std::size_t i = 32 * block; i < 32 * (block + 1); ++i) {
      CHECK((places[i] < 0 || (places[i] >= first[block] && places[i] < first[block + 1])));
    }
  }
  std::sort(places.begin(), places.end());
  for (std::int32_t row = 1; row < rows; ++row) CHECK(std::binary_search(places.begin(), places.end(), row));
}

TEST_CASE("slab csr: long rows are cut into parts, so that warps have like work where rows differ much") {
  const std::int64_t rows = 64, columns = 600;
  auto weight = sparse_weight(rows, columns, 0.95, 5);
  for (std::int64_t row = 0; row < rows; row += 8) {
    const auto dense = sparse_weight(1, columns, 0.6, unsigned(row));
    std::copy(dense.begin(), dense.end(), weight.begin() + row * columns);
  }
  const CsrBuffers csr(rows, columns, weight);
  const SlabCsrBuffers even(csr, 4), cut(csr, 6);
  CHECK(busiest_over_mean(cut) < 1.15);
  CHECK(busiest_over_mean(cut) < busiest_over_mean(even));
  CHECK(decoded(cut.view()) == weight);
  const std::uint32_t parts = cut.parts.download()[8];
  CHECK((parts >> 16) > 1);
}

TEST_CASE("slab csr: at 90 % random zeros padding stays within 3 %, a weight within 5.6 bytes per nonzero") {
  const std::int64_t rows = 128, columns = 2048;
  const CsrBuffers csr(rows, columns, sparse_weight(rows, columns, 0.9, 7));
  const SlabCsrBuffers slabs(csr, 8);
  const double nonzeros = double(csr.view().nonzeros), multiplied = double(slabs.view().group_count * 16);
  CHECK(nonzeros / multiplied > 0.97);
  CHECK(double(slabs.view().bytes()) / nonzeros < 5.6);
  CHECK(busiest_over_mean(slabs) < 1.1);
}

TEST_CASE("slab csr: warps have like work where a block has more quads than its rows fill, but not twice as many") {
  const std::int64_t rows = 158, columns = 1024;
  const SlabCsrBuffers slabs({rows, columns, sparse_weight(rows, columns, 0.9, 7)}, 8, 2);
  CHECK(busiest_over_mean(slabs) < 1.1);
}

TEST_CASE("slab csr: rows that differ as those of a trained layer do are padded by 5 % at most") {
  const std::int64_t rows = 64, columns = 800;
  std::vector<float> weight;
  for (std::int64_t row = 0; row < rows; ++row) {  // more of its columns live in one half than in the other
    const double zeros = 0.97 - 0.25 * double(row * 37 % rows) / double(rows);
    const auto left = sparse_weight(1, columns / 2, zeros, unsigned(row)),
               right = sparse_weight(1, columns / 2, 0.95, 99);
    weight.insert(weight.end(), row % 3 ? left.begin() : right.begin(), row % 3 ? left.end() : right.end());
    weight.insert(weight.end(), row % 3 ? right.begin() : left.begin(), row % 3 ? right.end() : left.end());
  }
  const CsrBuffers csr(rows, columns, weight);
  const SlabCsrBuffers slabs(csr, 6);
  CHECK(double(csr.view().nonzeros) / double(slabs.view().group_count * 16) > 0.95);
  CHECK(busiest_over_mean(slabs) < 1.1);
  CHECK(decoded(slabs.view()) == weight);
}

TEST_CASE("slab csr: a block takes each column that it has once, and no other") {
  const std::int64_t rows = 40, columns = 300;
  auto weight = sparse_weight(rows, columns, 0.95, 11);
  for (std::int64_t row = 0; row < rows; ++row) std::fill_n(weight.begin() + row * columns + 100, 50, 0.0f);
  const SlabCsrBuffers slabs({rows, columns, weight}, 2);
  const auto first = slabs.first_rows.download(), counts = slabs.column_counts.download();
  const auto listed = slabs.block_columns.download();
  for (std::int64_t block = 0; block < slabs.layout.blocks; ++block) {
    std::vector<int> expected;
    for (int column = 0; column < columns; ++column) {
      bool any = false;
      for (int row = first[std::size_t(block)]; row < first[std::size_t(block) + 1]; ++row) {
        any |= weight[std::size_t(row * columns + column)] != 0.0f;
      }
      if (any) expected.push_back(column);
    }
    const auto begin = listed.begin() + block * columns;
    std::vector<int> taken(begin, begin + counts[std::size_t(block)]);
    std::sort(taken.begin(), taken.end());
    CHECK(taken == expected);
  }
}

TEST_CASE("slab csr: a row that is longer than all others together takes several places of a quad") {
  const std::int64_t columns = 900;
  for (const std::int64_t rows : {1, 2, 3, 5}) {
    CAPTURE(rows);
    auto weight = sparse_weight(1, columns, 0.2, 3);
    const auto sparse = sparse_weight(rows - 1, columns, 0.95, 4);
    weight.insert(weight.end(), sparse.begin(), sparse.end());
    const CsrBuffers csr(rows, columns, weight);
    const SlabCsrBuffers slabs(csr, 2);
    CHECK(double(csr.view().nonzeros) / double(slabs.view().group_count * 16) > 0.93);
    CHECK(busiest_over_mean(slabs) < 1.1);
    CHECK(decoded(slabs.view()) == weight);
    check({65, rows, columns}, weight);
  }
}

TEST_CASE("slab csr: the layout fills a device, but no block has fewer than four rows") {
  for (const std::int64_t multiprocessors : {108, 128}) {
    const SlabCsrView even = kernels::slab_csr_layout<float>(4096, 4096, 256, multiprocessors, 1.2);
    CHECK(even.blocks == multiprocessors / 4);
    CHECK(even.warps == 16);
    const SlabCsrView narrow = kernels::slab_csr_layout<half>(4096, 4096, 256, multiprocessors, 1.2);
    CHECK(narrow.blocks == multiprocessors / 2);
    CHECK(narrow.warps <= kernels::slab_csr_warps<half>());
  }
  const SlabCsrView uneven = kernels::slab_csr_layout<float>(500, 800, 256, 108, 4);
  CHECK(uneven.blocks == 27);
  CHECK(double(uneven.places()) / 500 >= 1.5);
  CHECK(kernels::slab_csr_layout<float>(64, 1600, 256, 108, 2).blocks == 16);
  CHECK(kernels::slab_csr_layout<float>(64, 1600, 256, 108, 2).warps == 4);
  CHECK(kernels::slab_csr_layout<float>(7, 10, 1, 108, 1).blocks == 1);
}

TEST_CASE("csr_slab_spmm equals the dense product with zeros around a tile of samples") {
  for (const std::int64_t batch : {1, 31, 33, 63, 64, 65, 127, 130}) check({batch, 19, 70});
}

TEST_CASE("csr_slab_spmm equals the dense product with zeros at odd, prime and tile-edge sizes") {
  for (const std::int64_t rows : {1, 15, 16, 17, 31, 33}) check({20, rows, 67});
  for (const std::int64_t columns : {1, 62, 63, 64, 126, 189, 190, 251, 252, 253, 317, 521}) check({3, 18, columns});
  check({70, 101, 401, 0.9, 3});
  check({5, 300, 131, 0.9, 16});
  check({66, 9, 300, 0.6, 3});  // places to spare: the full row is cut
}

TEST_CASE("csr_slab_spmm at sparsities from empty to full") {
  for (const double sparsity : {0.0, 0.5, 0.8, 0.98, 1.0}) check({10, 24, 300, sparsity, 2});
}

TEST_CASE("csr_slab_spmm applies bias and activation") {
  check({20, 18, 40, 0.8, 2, Activation::relu});
  check({20, 18, 40, 0.8, 2, Activation::gelu, false});
}

TEST_CASE("csr_slab_spmm: an infinite x reaches only the rows that keep its column") {
  const CsrBuffers csr(2, 2, {0.0f, 0.0f, 0.0f, 3.0f});
  const SlabCsrBuffers slabs(csr, 2);
  const GuardedBuffer<float> x(std::vector<float>{INFINITY, 2.0f}), bias(std::vector<float>{0.25f, 0.5f});
  GuardedBuffer<float> y(2), panels(std::size_t(kernels::csr_slab_panels<float>(1, 2).elements()));
  kernels::csr_slab_spmm(1, slabs.view(), x.data(), {bias.data()}, y.data(), panels.data(), nullptr);
  CHECK(y.download() == std::vector<float>{0.25f, 6.5f});
}

TEST_CASE("slab csr: more columns than 16-bit indices reach are refused") {
  CsrView csr;
  csr.rows = 1, csr.columns = 70000;
  SlabCsrView layout;
  layout.rows = 1, layout.columns = 70000;
  CHECK_THROWS_WITH_AS(kernels::slab_csr_count(csr, layout, {}, nullptr, nullptr, nullptr, nullptr),
                       "slab_csr_count: 70000 columns; at most 65535 fit 16-bit indices", InvalidArgument);
}

TEST_CASE("csr_slab_spmm: an empty batch is refused with the sizes") {
  SlabCsrView weight;
  weight.rows = 2, weight.columns = 3;
  CHECK_THROWS_WITH_AS(kernels::csr_slab_spmm<float>(0, weight, nullptr, {}, nullptr, nullptr, nullptr),
                       "csr_slab_spmm: batch 0, weight 2 x 3; all must be at least 1", InvalidArgument);
}

TEST_CASE("csr_slab_spmm: a layout with more warps than sums of 16-bit samples leave registers for is refused") {
  SlabCsrView weight;
  weight.rows = 2, weight.columns = 3, weight.warps = 13;
  CHECK_THROWS_WITH_AS(kernels::csr_slab_spmm<half>(1, weight, nullptr, {}, nullptr, nullptr, nullptr),
                       "csr_slab_spmm: blocks of 13 warps, but of x in 2 bytes have at most 12; make the layout for it",
                       InvalidArgument);
}

}  // namespace
}  // namespace espalier::test
