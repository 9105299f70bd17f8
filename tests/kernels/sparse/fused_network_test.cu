// A network in one launch against the dense network with zeros, layer by layer in double.
#include "kernels/sparse/fused_network.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/sparse_network.h"

namespace espalier::test {
namespace {

using kernels::Activation;
using kernels::Conv2dShape;
using kernels::SparseTeam;

std::vector<float> run(const SparseNetwork& network, int images, SparseTeam team) {
  const kernels::FusedTables tables = kernels::fused_tables(network.products, images, team);
  const GuardedBuffer<float> x(network.x);
  const GuardedBuffer<kernels::FusedRow> rows(tables.rows);
  const GuardedBuffer<kernels::FusedNonzero> nonzeros(tables.nonzeros);
  GuardedBuffer<float> y(network.y.size());
  kernels::fused_network(tables.network, rows.data(), nonzeros.data(), network.batch, x.data(), y.data(), nullptr,
                         team);
  CHECK(y.guards_intact());
  return y.download();
}

bool fits_this_device(const SparseNetwork& network, int images) {
  int bytes = 0;
  cuda_check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0));
  return kernels::fused_tables(network.products, images, SparseTeam::warp).network.floats * 4 <= bytes;
}

void check(const SparseNetwork& network) {
  CAPTURE(network.batch);
  if (simt::kEmulated) {
    CHECK(difference(run(network, simt::kLanes, SparseTeam::automatic), network.y, 1e-5, 2e-5) == "");
  }
  for (const int images : {1, 2, 8, 32}) {
    CAPTURE(images);
    if (!fits_this_device(network, images)) continue;
    CHECK(difference(run(network, images, SparseTeam::warp), network.y, 1e-5, 2e-5) == "");
  }
}

TEST_CASE("fused_network: dense layers alone, at batches around a block's images") {
  for (const std::int64_t batch : {1, 2, 7, 16, 17, 33}) {
    SparseNetwork network{batch};
    network.dense(20, 13, 0.7, Activation::relu);
    network.dense(13, 9, 0.5, Activation::tanh);
    network.dense(9, 3, 0.2);
    check(network);
  }
}

TEST_CASE("fused_network: one layer, odd widths, rows longer and shorter than a chain of sums") {
  for (const std::int64_t inputs : {1, 3, 4, 5, 31, 67}) {
    SparseNetwork network{3};
    network.dense(inputs, 5, 0.4, Activation::sigmoid);
    check(network);
  }
}

TEST_CASE("fused_network: convolutions, pools and a dense layer, as in lenet-5") {
  for (const std::int64_t batch : {1, 3, 18}) {
    SparseNetwork network{batch};
    network.add({1, 1, 16, 16, 5, 5, 5}, 0.6, Activation::none, /*pool=*/true);
    network.add({1, 5, 6, 6, 7, 3, 3}, 0.9, Activation::relu, /*pool=*/true);
    network.dense(28, 10, 0.8, Activation::relu);
    network.dense(10, 4, 0.5);
    check(network);
  }
}

TEST_CASE("fused_network: outputs of odd sizes, padding, stride, dilation and groups") {
  const auto alone = [](Conv2dShape shape, bool pool = false) {
    SparseNetwork network{2};
    network.add(shape, 0.5, Activation::relu, pool);
    check(network);
    const std::int64_t height = network.products[0].out_height(), width = network.products[0].out_width();
    network.add({1, shape.filters, height, width, 3, 1, 1}, 0.3);  // its map has a reader
    check(network);
  };
  alone({1, 2, 7, 9, 3, 3, 3});
  alone({1, 2, 7, 9, 3, 3, 3}, true);
  alone({1, 2, 6, 5, 3, 3, 3, 1, 1});
  alone({1, 2, 6, 5, 3, 3, 3, 1, 2}, true);
  alone({1, 2, 11, 9, 3, 3, 3, 2, 1});
  alone({1, 2, 11, 12, 3, 3, 3, 2, 1, 2}, true);
  alone({1, 4, 6, 6, 6, 3, 3, 1, 1, 1, 2});
  alone({1, 3, 1, 1, 2, 3, 3, 1, 1});
  alone({1, 2, 5, 5, 4, 5, 5});
}

TEST_CASE("fused_network: padded maps between layers keep their borders") {
  SparseNetwork network{5};
  network.add({1, 1, 8, 8, 4, 3, 3, 1, 1}, 0.4, Activation::relu);
  network.add({1, 4, 8, 8, 5, 3, 3, 1, 1}, 0.6, Activation::leaky_relu, /*pool=*/true);
  network.add({1, 5, 4, 4, 6, 3, 3, 1, 1}, 0.6, Activation::gelu);
  network.dense(96, 3, 0.6);
  check(network);
}

TEST_CASE("fused_network: NaN passes through pools and layers") {
  SparseNetwork network{1};
  network.add({1, 1, 4, 4, 2, 1, 1}, 0.0, Activation::relu, /*pool=*/true);
  network.x[5] = NAN;
  for (const SparseTeam team : {SparseTeam::automatic, SparseTeam::warp}) {
    const int images = is_warp(team) ? 1 : simt::kLanes;
    const std::vector<float> y = run(network, images, team);
    CHECK(std::isnan(y[4]));  // the second filter, which keeps its weight; the first has none
    CHECK(!std::isnan(y[5]));
  }
}

TEST_CASE("fused_network: as many images as fit and leave no multiprocessor without a block") {
  SparseNetwork network{1};
  network.dense(784, 300, 0.98);
  network.dense(300, 10, 0.9);
  const auto images = [&](std::int64_t batch, std::int64_t bytes, int multiprocessors) {
    return kernels::fused_images(network.products, batch, bytes, multiprocessors, SparseTeam::warp);
  };
  CHECK(images(4096, 163 * 1024, 108) == 32);
  CHECK(images(4096, 99 * 1024, 108) == 16);
  CHECK(images(4096, 64 * 1024, 40) == 8);
  CHECK(images(256, 163 * 1024, 108) == 2);
  CHECK(images(1, 163 * 1024, 108) == 1);
  CHECK(images(1, 4096, 108) == 0);
}

TEST_CASE("fused_network: layers that do not fit together are refused with their sizes") {
  SparseNetwork network{1};
  network.dense(6, 5, 0.2);
  network.products.push_back(network.products[0]);
  CHECK_THROWS_WITH_AS(kernels::fused_tables(network.products, 1), doctest::Contains("layer 1 gives 5 values"),
                       InvalidArgument);
  CHECK_THROWS_AS(kernels::fused_tables({}, 1), InvalidArgument);
}

}  // namespace
}  // namespace espalier::test
