// CSR arranged by slabs: nothing is lost, little is padded, and its product is the dense one with zeros, in double.
#include "kernels/sparse/csr_slab_spmm.h"

#include <doctest/doctest.h>

#include <numeric>

#include "kernels/require.h"
#include "tests/support/sparse_buffers.h"

namespace espalier::test {
namespace {

using kernels::Activation;
using kernels::SlabCsrView;

struct Problem {
  std::int64_t batch, rows, columns;
  double sparsity = 0.9;
  int warps = 1;
  Activation activation = Activation::none;
  bool with_bias = true;
};

void check(const Problem& problem) {
  CAPTURE(problem.batch);
  CAPTURE(problem.rows);
  CAPTURE(problem.columns);
  CAPTURE(problem.sparsity);
  CAPTURE(problem.warps);
  const auto weight = uneven_weight(problem.rows, problem.columns, problem.sparsity, 3);
  const auto x = random_floats(std::size_t(problem.batch * problem.columns), 1);
  const auto bias = random_floats(std::size_t(problem.rows), 2);
  const CsrBuffers csr(problem.rows, problem.columns, weight);
  const SlabCsrBuffers slabs(csr, problem.warps);
  CHECK(slabs.guards_intact());
  const GuardedBuffer<float> device_x(x), device_bias(bias);
  GuardedBuffer<float> y(std::size_t(problem.batch * problem.rows));
  GuardedBuffer<float> panels(std::size_t(kernels::csr_slab_panels(problem.batch, problem.columns).floats()));
  kernels::csr_slab_spmm(problem.batch, slabs.view(), device_x.data(),
                         {problem.with_bias ? device_bias.data() : nullptr, problem.activation}, y.data(),
                         panels.data(), nullptr);
  CHECK(y.guards_intact());
  CHECK(panels.guards_intact());
  const auto expected = reference_linear(problem.batch, problem.rows, problem.columns, x, weight,
                                         problem.with_bias ? bias : std::vector<float>{}, problem.activation);
  CHECK(difference(y.download(), expected, 1e-5, sum_tolerance(problem.columns)) == "");
}

std::vector<float> decoded(const SlabCsrView& view) {
  GuardedBuffer<float> weight(std::size_t(view.rows * view.columns));
  kernels::slab_csr_decode(view, weight.data(), nullptr);
  CHECK(weight.guards_intact());
  return weight.download();
}

TEST_CASE("slab csr: decode(encode(w)) == w at odd sizes, around a slab and a ring, with empty and full rows") {
  for (const std::int64_t columns : {1, 2, 62, 63, 64, 189, 252, 253, 520}) {
    for (const std::int64_t rows : {1, 3, 16, 17, 50}) {
      for (const double sparsity : {0.0, 0.7, 0.98, 1.0}) {
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

TEST_CASE("slab csr: every row has one place, longer rows of a block come first in equal shares for its warps") {
  const std::int64_t rows = 70, columns = 300;
  const CsrBuffers csr(rows, columns, uneven_weight(rows, columns, 0.8, 5));
  const SlabCsrBuffers slabs(csr, 2);
  std::vector<std::int32_t> places = slabs.row_of.download();
  CHECK(places.size() == 96);
  for (std::size_t i = 0; i < places.size(); ++i) CHECK((places[i] < 0 || places[i] / 32 == std::int32_t(i / 32)));
  std::erase(places, -1);
  std::sort(places.begin(), places.end());
  std::vector<std::int32_t> all(static_cast<std::size_t>(rows));
  std::iota(all.begin(), all.end(), 0);
  CHECK(places == all);
}

TEST_CASE("slab csr: at 90 % random zeros padding stays within 5 %, a weight within 5.6 bytes per nonzero") {
  const std::int64_t rows = 128, columns = 2048;
  const CsrBuffers csr(rows, columns, sparse_weight(rows, columns, 0.9, 7));
  const SlabCsrBuffers slabs(csr, 8);
  const double nonzeros = double(csr.view().nonzeros), multiplied = double(slabs.view().group_count * 16);
  CHECK(nonzeros / multiplied > 0.95);
  CHECK(double(slabs.view().bytes()) / nonzeros < 5.6);
  const auto groups = slabs.group_offsets.download();
  double most = 0;
  for (std::size_t warp = 0; warp < 8; ++warp) {
    most = std::max(most, double(groups[4 * warp + 4] - groups[4 * warp]));
  }
  CHECK(most / (double(slabs.view().group_count) / 8) < 1.1);
}

TEST_CASE("slab csr: the layout fills a device with the fewest, busiest blocks") {
  CHECK(kernels::slab_csr_layout(4096, 4096, 256, 108).warps == 10);
  CHECK(kernels::slab_csr_layout(4096, 4096, 256, 128).warps == 8);
  CHECK(kernels::slab_csr_layout(10, 10, 1, 108).warps == 1);
}

TEST_CASE("csr_slab_spmm equals the dense product with zeros around a tile of samples") {
  for (const std::int64_t batch : {1, 31, 33, 63, 64, 65, 130}) check({batch, 19, 70});
}

TEST_CASE("csr_slab_spmm equals the dense product with zeros at odd, prime and tile-edge sizes") {
  for (const std::int64_t rows : {1, 15, 16, 17, 31, 33}) check({20, rows, 67});
  for (const std::int64_t columns : {1, 62, 63, 64, 126, 189, 190, 251, 252, 253, 317, 521}) check({3, 18, columns});
  check({70, 101, 401, 0.9, 3});
  check({5, 300, 131, 0.9, 16});
}

TEST_CASE("csr_slab_spmm at sparsities from empty to full") {
  for (const double sparsity : {0.0, 0.5, 0.8, 0.98, 1.0}) check({10, 24, 300, sparsity, 2});
}

TEST_CASE("csr_slab_spmm applies bias and activation") {
  check({20, 18, 40, 0.8, 1, Activation::relu});
  check({20, 18, 40, 0.8, 1, Activation::gelu, false});
}

TEST_CASE("csr_slab_spmm: an infinite x reaches only the rows that keep its column") {
  const CsrBuffers csr(2, 2, {0.0f, 0.0f, 0.0f, 3.0f});
  const SlabCsrBuffers slabs(csr, 1);
  const GuardedBuffer<float> x(std::vector<float>{INFINITY, 2.0f}), bias(std::vector<float>{0.25f, 0.5f});
  GuardedBuffer<float> y(2), panels(std::size_t(kernels::csr_slab_panels(1, 2).floats()));
  kernels::csr_slab_spmm(1, slabs.view(), x.data(), {bias.data()}, y.data(), panels.data(), nullptr);
  CHECK(y.download() == std::vector<float>{0.25f, 6.5f});
}

TEST_CASE("csr_slab_spmm: an empty batch is refused with the sizes") {
  SlabCsrView weight;
  weight.rows = 2, weight.columns = 3;
  CHECK_THROWS_WITH_AS(kernels::csr_slab_spmm(0, weight, nullptr, {}, nullptr, nullptr, nullptr),
                       "csr_slab_spmm: batch 0, weight 2 x 3; all must be at least 1", InvalidArgument);
}

}  // namespace
}  // namespace espalier::test
