// CSR arranged for a resident panel: nothing is lost, little is padded, no banks collide, and its product is the dense
// one with zeros, in double.
#include "kernels/sparse/csr_resident_spmm.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "tests/support/narrow.h"
#include "tests/support/sparse_buffers.h"
#include "tests/support/sparse_product.h"

namespace espalier::test {
namespace {

using kernels::Activation;
using kernels::bfloat16;
using kernels::half;
using kernels::ResidentCsrView;

struct Problem {
  std::int64_t batch, rows, columns;
  int samples = 32, chunk = 64, parts = 1, warps = 2;
  double sparsity = 0.9;
  Activation activation = Activation::none;
  bool with_bias = true;
  int slices = 1;
};

ResidentCsrView sizes(const Problem& problem) {
  ResidentCsrView layout;
  layout.rows = problem.rows, layout.columns = problem.columns;
  layout.samples = problem.samples, layout.chunk = problem.chunk;
  layout.parts = problem.parts, layout.warps = problem.warps, layout.slices = problem.slices;
  return layout;
}

template <class T>
void check_read_as(const Problem& problem) {
  CAPTURE(sizeof(T));
  CAPTURE(problem.batch);
  CAPTURE(problem.rows);
  CAPTURE(problem.columns);
  CAPTURE(problem.samples);
  CAPTURE(problem.chunk);
  CAPTURE(problem.slices);
  CAPTURE(problem.sparsity);
  const auto weight = uneven_weight(problem.rows, problem.columns, problem.sparsity, 3);
  ResidentCsrView layout = sizes(problem);
  layout.to_word = int(sizeof(float) / sizeof(T));
  const ResidentCsrBuffers arranged({problem.rows, problem.columns, weight}, layout);
  CHECK(arranged.guards_intact());
  check_sparse_product(
      problem, weight, kernels::csr_resident_scratch(problem.batch, arranged.view()),
      [&](const float* x, const auto& epilogue, float* y, float* scratch) {
        kernels::csr_resident_spmm<T>(problem.batch, arranged.view(), x, epilogue, y, scratch, nullptr);
      },
      as_read<T>);
}

// With x read as it is, and in 16 bits.
void check(const Problem& problem) {
  check_read_as<float>(problem);
  check_read_as<half>(problem);
  check_read_as<bfloat16>(problem);
}

std::vector<float> decoded(const ResidentCsrView& view) {
  GuardedBuffer<float> weight(std::size_t(view.rows * view.columns));
  kernels::resident_csr_decode(view, weight.data(), nullptr);
  CHECK(weight.guards_intact());
  return weight.download();
}

TEST_CASE("resident csr: decode(encode(w)) == w at odd sizes, around a bundle and a chunk, with empty and full rows") {
  for (const int samples : {8, 16, 32}) {
    for (const std::int64_t columns : {1, 7, 15, 16, 17, 70}) {
      for (const std::int64_t rows : {1, 8, 31, 33, 70}) {
        CAPTURE(rows);
        CAPTURE(columns);
        const ResidentCsrView layout = sizes({1, rows, columns, samples, 16});
        for (const double sparsity : {0.0, 0.7, 1.0}) {
          const auto weight = sparse_weight(rows, columns, sparsity, unsigned(rows + columns));
          CHECK(decoded(ResidentCsrBuffers({rows, columns, weight}, layout).view()) == weight);
        }
        const auto weight = uneven_weight(rows, columns, 0.8, unsigned(rows));
        CHECK(decoded(ResidentCsrBuffers({rows, columns, weight}, layout).view()) == weight);
      }
    }
  }
}

// Of each phase of a 128-bit load, eight lanes: whether its rows read columns whose samples lie in different banks.
double phases_without_conflict(const ResidentCsrBuffers& arranged) {
  const ResidentCsrView& layout = arranged.layout;
  const auto columns = arranged.chunk_columns.download();
  const auto values = arranged.values.download();
  const int rows = layout.bundle_rows(), phase_rows = 64 / layout.samples;
  std::int64_t good = 0, all = 0;
  for (std::int64_t group = 0; group < layout.group_count; ++group) {
    for (int first = 0; first < rows; first += phase_rows) {
      for (int step = 0; step < layout.kSteps; ++step) {
        const auto at = [&](int row) { return std::size_t((group * rows + first + row) * layout.kSteps + step); };
        bool conflict = false;
        for (int row = 0; row < phase_rows; ++row) {
          for (int other = 0; other < row; ++other) {  // classes() rows read the same half of a tile
            if (row / layout.classes() != other / layout.classes()) continue;
            conflict |= values[at(row)] != 0.0f && values[at(other)] != 0.0f &&
                        columns[at(row)] % layout.classes() == columns[at(other)] % layout.classes();
          }
        }
        good += !conflict, ++all;
      }
    }
  }
  return double(good) / double(all);
}

TEST_CASE("resident csr: at 90 % random zeros padding stays within 5 %, a weight within 6.4 bytes per nonzero") {
  const std::int64_t rows = 512, columns = 1024;
  const CsrBuffers csr(rows, columns, sparse_weight(rows, columns, 0.9, 7));
  for (const int samples : {8, 16, 32}) {
    CAPTURE(samples);
    const ResidentCsrBuffers arranged(csr, sizes({1, rows, columns, samples, 512}));
    const double nonzeros = double(csr.view().nonzeros);
    CHECK(nonzeros / double(arranged.layout.group_count * arranged.layout.bundle_rows() * 4) > 0.945);
    CHECK(double(arranged.view().bytes()) / nonzeros < 6.45);
    CHECK(phases_without_conflict(arranged) > 0.65);  // of random columns 0.5 and 0.01 with 16 and 8 samples
  }
}

TEST_CASE("resident csr: a layout fits shared memory; large: no multiprocessor is idle, small: one chunk") {
  constexpr std::int64_t kA100 = 163 * 1024, kSmall = 64 * 1024;
  const auto of = [](std::int64_t rows, std::int64_t columns, std::int64_t batch, kernels::ResidentDevice device) {
    return kernels::resident_csr_layout({.rows = rows, .columns = columns, .nonzeros = (rows * columns + 9) / 10},
                                        batch, device);
  };
  const ResidentCsrView large = of(4096, 4096, 32, {108, kA100});
  CHECK(large.samples == 32);
  CHECK((large.chunk + 1) * 32 * 4 <= kA100);
  CHECK(large.chunks() * large.parts >= 108);
  CHECK(large.chunks() * large.parts <= 216);
  const ResidentCsrView medium = of(500, 800, 128, {108, kA100});
  CHECK(medium.chunks() == 1);
  CHECK(medium.parts * ((128 + medium.samples - 1) / medium.samples) >= 80);
  CHECK(of(300, 784, 8, {40, kSmall}).samples == 8);
  const ResidentCsrView paired =
      kernels::resident_csr_layout({.rows = 300, .columns = 784, .nonzeros = 23520}, 16, {40, kSmall}, 2);
  CHECK(paired.samples == 8);
  CHECK(paired.tile_samples() == 16);
  CHECK(of(1, 1, 1, {1, 1024}).chunk == 8);
}

TEST_CASE("csr_resident_spmm equals the dense product with zeros around the tiles of samples") {
  for (const std::int64_t batch : {1, 7, 8, 9, 17}) check({batch, 40, 70, 8});
  for (const std::int64_t batch : {1, 15, 16, 17, 33}) check({batch, 40, 70, 16});
  for (const std::int64_t batch : {1, 31, 32, 33, 63, 65}) check({batch, 40, 70, 32});
}

TEST_CASE("csr_resident_spmm equals the dense product with zeros at odd, prime and tile-edge sizes") {
  for (const int samples : {8, 16, 32}) {
    for (const std::int64_t rows : {1, 7, 8, 9, 31, 33, 101}) check({5, rows, 67, samples, 128});
    for (const std::int64_t columns : {1, 15, 16, 17, 47, 97}) check({5, 18, columns, samples, 16});
    check({19, 133, 201, samples, 48, 3, 2});
    check({3, 300, 131, samples, 256, 2, 16});
  }
}

TEST_CASE("csr_resident_spmm at sparsities from empty to full") {
  for (const double sparsity : {0.0, 0.5, 0.8, 0.98, 1.0}) {
    check({10, 34, 300, 16, 128, 1, 2, sparsity});
    check({10, 34, 100, 8, 128, 1, 2, sparsity});
  }
}

TEST_CASE("csr_resident_spmm applies bias and activation with one chunk and with several") {
  check({20, 18, 40, 32, 64, 1, 1, 0.8, Activation::relu});
  check({20, 18, 40, 32, 64, 1, 1, 0.8, Activation::gelu, false});
  check({20, 18, 40, 32, 16, 1, 1, 0.8, Activation::relu});
  check({20, 18, 40, 32, 16, 1, 1, 0.8, Activation::tanh, false});
}

TEST_CASE("csr_resident_spmm where several warps share a bundle, some with no group, some with no bundle") {
  for (const int samples : {8, 16, 32}) {
    for (const int slices : {2, 3, 4}) {
      check({33, 17, 100, samples, 104, 5, slices, 0.8, Activation::relu, true, slices});
      check({5, 40, 65, samples, 32, 2, 3 * slices, 0.95, Activation::none, true, slices});
    }
  }
  const auto full = sparse_weight(8, 16, 0.0, 3);
  for (const int slices : {1, 4}) {
    const ResidentCsrView layout = sizes({1, 8, 16, 32, 16, 1, 4, 0, {}, true, slices});
    CHECK(decoded(ResidentCsrBuffers({8, 16, full}, layout).view()) == full);
  }
}

TEST_CASE("csr_resident_spmm: an infinite x reaches only the rows that keep its column") {
  const ResidentCsrBuffers arranged({2, 2, {0.0f, 0.0f, 0.0f, 3.0f}}, sizes({1, 2, 2, 8, 8}));
  const GuardedBuffer<float> x(std::vector<float>{INFINITY, 2.0f}), bias(std::vector<float>{0.25f, 0.5f});
  GuardedBuffer<float> y(2);
  kernels::csr_resident_spmm<float>(1, arranged.view(), x.data(), {bias.data()}, y.data(), nullptr, nullptr);
  CHECK(y.download() == std::vector<float>{0.25f, 6.5f});
}

TEST_CASE("csr_resident_spmm refuses an empty batch, unknown tiles, and chunks without scratch") {
  const auto refusal = [](const Problem& problem) {
    try {
      kernels::csr_resident_spmm<float>(problem.batch, sizes(problem), nullptr, {}, nullptr, nullptr, nullptr);
    } catch (const InvalidArgument& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(refusal({0, 2, 3}) == "csr_resident_spmm: batch 0, weight 2 x 3; all must be at least 1");
  CHECK(refusal({1, 2, 3, 64}) == "csr_resident_spmm: tiles of 64 samples; there are kernels for 8, 16 and 32");
  CHECK(refusal({1, 2, 30, 8, 16}) ==
        "csr_resident_spmm: 2 chunks make partial sums; give scratch of csr_resident_scratch() floats");
  CHECK(refusal({1, 2, 3, 8, 8, 1, 4, 0, {}, true, 3}) ==
        "csr_resident_spmm: 3 warps to a bundle in 1 parts of 4 warps, 1 bundles; they must divide the warps, and each "
        "have one bundle at most");
  CHECK_THROWS_WITH_AS(kernels::csr_resident_spmm<half>(1, sizes({1, 2, 3}), nullptr, {}, nullptr, nullptr, nullptr),
                       "csr_resident_spmm: the weight is arranged for 1 samples to a word, x is to be read with 2; "
                       "make the layout for it",
                       InvalidArgument);
}

}  // namespace
}  // namespace espalier::test
