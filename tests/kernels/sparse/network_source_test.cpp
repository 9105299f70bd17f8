// The text of a compiled network: what it leaves out, what it refuses, and that CUDA's compiler takes it.
#include "kernels/sparse/network_source.h"

#include <doctest/doctest.h>

#include <cmath>

#include "kernels/require.h"
#include "tests/support/nvrtc.h"

namespace espalier::kernels {
namespace {

// A dense layer from rows of (column, weight).
FusedProduct dense_layer(index_t columns, const std::vector<std::vector<std::pair<int, float>>>& rows) {
  FusedProduct product;
  product.shape = {.width = columns, .filters = index_t(rows.size()), .kernel_width = columns};
  product.row_offsets = {0};
  for (const auto& row : rows) {
    for (const auto& [column, weight] : row) {
      product.column_indices.push_back(column), product.values.push_back(weight);
    }
    product.row_offsets.push_back(std::int32_t(product.values.size()));
  }
  return product;
}

// 2 x 8 x 8 -> 4 x 4 x 4 -> 5, a third of the taps and a quarter of the weights kept.
std::vector<FusedProduct> small_network() {
  FusedProduct convolution;
  convolution.shape = {
      .channels = 2, .height = 8, .width = 8, .filters = 4, .kernel_height = 3, .kernel_width = 3, .padding = 1};
  convolution.pool = true, convolution.activation = Activation::relu;
  convolution.row_offsets = {0};
  for (int filter = 0; filter < 4; ++filter) {
    for (int tap = filter % 3; tap < 18; tap += 3) {
      convolution.column_indices.push_back(tap), convolution.values.push_back(0.25f + 0.01f * float(tap));
    }
    convolution.row_offsets.push_back(std::int32_t(convolution.values.size()));
  }
  std::vector<std::vector<std::pair<int, float>>> rows(5);
  for (int row = 0; row < 5; ++row) {
    for (int column = row % 4; column < 64; column += 4) rows[std::size_t(row)].push_back({column, 0.5f});
  }
  FusedProduct last = dense_layer(64, rows);
  last.activation = Activation::tanh;
  return {convolution, last};
}

TEST_CASE("network source: rows that no later layer reads are left out, and a shared input is read once") {
  const std::vector<FusedProduct> products{dense_layer(3, {{{0, 0.5f}, {2, 0.25f}}, {{1, 3.0f}}, {{0, 2.0f}}}),
                                           dense_layer(3, {{{0, 1.5f}, {2, 1.25f}}})};
  for (const SourceTarget target : {SourceTarget::host, SourceTarget::cuda}) {
    const NetworkSource source = network_source(products, target);
    CHECK(source.nonzeros == 5);
    CHECK(source.products == 5);
    CHECK(source.loads <= 5);
    CHECK(source.inputs == 3);
    CHECK(source.outputs == 1);
    CHECK(source.text.find("0x1.8p+1f") == std::string::npos);  // 3, of the row that nobody reads
    CHECK(source.text == network_source(products, target).text);
  }
  CHECK(network_source(products, SourceTarget::host).loads == 4);
}

TEST_CASE("network source: work is counted for each position of a convolution") {
  const NetworkSource source = network_source(small_network(), SourceTarget::host);
  CHECK(source.nonzeros == 24 + 80);
  CHECK(source.products == 24 * 64 + 80);
  CHECK(source.loads < source.products);
}

TEST_CASE("network source: too many nonzeros, weights that are no numbers and layers that do not fit are refused") {
  std::vector<std::vector<std::pair<int, float>>> rows(160);
  for (auto& row : rows) {
    for (int column = 0; column < 160; ++column) row.push_back({column, 1.0f});
  }
  const FusedProduct large = dense_layer(160, rows), odd = dense_layer(3, {{{0, NAN}}});
  for (const SourceTarget target : {SourceTarget::host, SourceTarget::cuda}) {
    CHECK_THROWS_AS(network_source({{large}}, target), InvalidArgument);
    CHECK_THROWS_AS(network_source({{odd}}, target), InvalidArgument);
    CHECK_THROWS_AS(network_source({{dense_layer(3, {{}}), dense_layer(2, {{}})}}, target), InvalidArgument);
    CHECK_THROWS_AS(network_source({}, target), InvalidArgument);
  }
}

TEST_CASE("network source: NVRTC compiles it for old and new devices without a spilled register") {
  test::check_nvrtc_compiles(network_source(small_network(), SourceTarget::cuda).text);
}

}  // namespace
}  // namespace espalier::kernels
