// Convolutions that are written out as code (kernels/sparse/conv2d_source.h) when the tests are built and compiled into
// them, with layouts of every kind.
#pragma once
#include <string_view>

#include "kernels/sparse/conv2d_source.h"
#include "tests/support/sparse_network.h"

namespace espalier::test {

constexpr std::string_view kWrittenConvolutions[] = {"pooled", "strided", "dilated", "narrow"};  // as in CMakeLists.txt

inline SparseNetwork written_convolution(std::string_view name, std::int64_t batch) {
  using kernels::Activation;
  SparseNetwork network{batch};
  if (name == "pooled") {
    network.add({1, 5, 13, 14, 37, 3, 3, 1, 1}, 0.8, Activation::relu, /*pool=*/true);
  } else if (name == "strided") {
    network.add({1, 6, 15, 18, 20, 5, 3, 2, 2}, 0.8, Activation::leaky_relu);
  } else if (name == "dilated") {
    network.add({1, 7, 33, 20, 11, 3, 4, 1, 0, 2}, 0.7, Activation::tanh);
  } else {
    network.add({1, 3, 6, 5, 9, 2, 1, 3, 1}, 0.5);
  }
  return network;
}

// pooled: several images in a block; dilated: some channels at a time, the last time fewer, in tiles of an image.
inline kernels::Conv2dSource written_source(std::string_view name, kernels::SourceTarget target) {
  const SparseNetwork network = written_convolution(name, 1);
  const kernels::FusedProduct& product = network.products[0];
  auto layout =
      conv2d_source_layout(product, 9, {.multiprocessors = name == "strided" ? 40 : 1, .shared_bytes = 16384});
  if (name == "dilated") layout.channels = 2, layout.image = 2 * layout.channel();
  return conv2d_source(product, layout, target);
}

}  // namespace espalier::test
