// The text of a compiled convolution: how its layout follows shapes and devices, what it refuses, and that CUDA's
// compiler takes it.
#include "kernels/sparse/conv2d_source.h"

#include <doctest/doctest.h>

#include <cmath>

#include "kernels/require.h"
#include "tests/support/nvrtc.h"
#include "tests/written/convolutions.h"

namespace espalier::kernels {
namespace {

constexpr SourceDevice kA100{.multiprocessors = 108, .shared_bytes = 163 * 1024, .fp32_lanes = 64};

FusedProduct convolution(Conv2dShape shape, double sparsity, bool pool = false) {
  test::SparseNetwork network{1};
  network.add(shape, sparsity, Activation::relu, pool);
  return network.products[0];
}

void check_layout(const FusedProduct& product, index_t batch, const SourceDevice& device) {
  const Conv2dSourceLayout layout = conv2d_source_layout(product, batch, device);
  const Conv2dShape& shape = product.shape;
  const index_t step = product.pool ? 2 : 1;
  CHECK(layout.threads <= 256);
  CHECK(layout.threads >= layout.images * layout.cells());
  CHECK(4 * layout.slab_floats() <= device.shared_bytes);
  CHECK(layout.filters * layout.groups >= shape.filters);
  CHECK(layout.out_rows == shape.out_height() / step * step);
  CHECK(layout.tiles() * layout.tile_rows * layout.tile_columns >= layout.out_rows * layout.out_columns);
  CHECK(layout.cell_rows % step == 0);
  CHECK(layout.cell_columns % step == 0);
  CHECK((layout.images == 1 || layout.tiles() == 1));
  const index_t reach = shape.dilation * (shape.kernel_width - 1);
  CHECK((layout.tile_columns - 1 + reach / shape.stride) < layout.pitch);
  CHECK(layout.wavefronts >= double(layout.cell_columns));
}

TEST_CASE("convolution source: layouts cover the outputs within the device's shared memory") {
  for (const index_t batch : {1, 32, 1024}) {
    CAPTURE(batch);
    for (const SourceDevice& device : {kA100, SourceDevice{40, 48 * 1024, 64}}) {
      check_layout(convolution({1, 32, 13, 13, 64, 3, 3}, 0.9, /*pool=*/true), batch, device);
      check_layout(convolution({1, 20, 12, 12, 50, 5, 5}, 0.9, /*pool=*/true), batch, device);
      check_layout(convolution({1, 16, 28, 27, 33, 3, 3, 2, 1}, 0.8), batch, device);
      check_layout(convolution({1, 3, 65, 70, 8, 7, 5, 2, 3, 2}, 0.6), batch, device);
    }
  }
}

TEST_CASE("convolution source: small batches are cut into more blocks, large ones share reads among more filters") {
  const FusedProduct product = convolution({1, 32, 13, 13, 64, 3, 3}, 0.9, /*pool=*/true);
  const Conv2dSourceLayout small = conv2d_source_layout(product, 32, kA100);
  const Conv2dSourceLayout large = conv2d_source_layout(product, 4096, kA100);
  CHECK(small.filters < large.filters);
  CHECK(conv2d_source(product, small, SourceTarget::cuda).blocks(32) > 64);
  CHECK(large.filters >= 16);
}

TEST_CASE("convolution source: every nonzero is written for each output of a cell, a read serves several filters") {
  const FusedProduct product = convolution({1, 8, 12, 12, 32, 3, 3}, 0.75);
  const Conv2dSourceLayout layout = conv2d_source_layout(product, 256, kA100);
  const Conv2dSource source = conv2d_source(product, layout, SourceTarget::cuda);
  CHECK(source.nonzeros == index_t(product.values.size()));
  CHECK(source.products == source.nonzeros * layout.cell_rows * layout.cell_columns);
  CHECK(source.products > 3 * source.loads);
  CHECK(source.loads <= layout.loads * product.shape.channels * layout.groups);
  CHECK(source.text == conv2d_source(product, layout, SourceTarget::cuda).text);
}

TEST_CASE("convolution source: what cannot be written is refused") {
  const auto refusal = [](const FusedProduct& product, const SourceDevice& device) -> std::string {
    try {
      conv2d_source(product, conv2d_source_layout(product, 8, device), SourceTarget::cuda);
      return "";
    } catch (const InvalidArgument& error) {
      return error.what();
    }
  };
  FusedProduct odd = convolution({1, 4, 9, 9, 4, 3, 3}, 0.5);
  odd.values[2] = NAN;
  CHECK(refusal(odd, kA100).find("not finite") != std::string::npos);
  CHECK(refusal(convolution({1, 4, 9, 9, 4, 3, 3, 1, 1, 1, 2}, 0.5), kA100).find("groups") != std::string::npos);
  CHECK(refusal(convolution({1, 128, 4, 4, 64, 3, 3, 1, 1}, 0.5), kA100).find("too long") != std::string::npos);
  CHECK(refusal(convolution({1, 1, 60, 60, 1, 50, 50}, 0.9), {1, 4096, 64}).find("shared memory") != std::string::npos);
  CHECK(refusal(convolution({1, 4, 3, 9, 4, 3, 3}, 0.5, /*pool=*/true), kA100).find("pool") != std::string::npos);
}

TEST_CASE("convolution source: NVRTC compiles it for old and new devices without a spilled register") {
  const FusedProduct product = convolution({1, 16, 13, 13, 64, 3, 3}, 0.9, /*pool=*/true);
  for (const index_t batch : {8, 1024}) {
    const auto layout = conv2d_source_layout(product, batch, kA100);
    test::check_nvrtc_compiles(conv2d_source(product, layout, SourceTarget::cuda).text);
  }
}

}  // namespace
}  // namespace espalier::kernels
