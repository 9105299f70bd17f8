// Strips that leave by rows (kernels/conv2d_stencil_rows.h), against plain loops in double: parts of planes and of
// filters, and results that begin anywhere, whose strips leave without.
#include <doctest/doctest.h>

#include "kernels/conv2d.h"
#include "tests/support/close.h"
#include "tests/support/conv2d_problem.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/reference/conv2d.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

TEST_CASE("conv2d_forward: rows that are no whole sectors, of few channels, in parts of planes and of filters") {
  struct Map {
    index_t height, width, filters;
  };
  for (const Map& map : {Map{4, 18, 8}, {26, 26, 21}, {28, 28, 16}, {62, 30, 11}, {63, 30, 5}, {40, 20, 3}}) {
    const Conv2dShape s{.batch = 3,
                        .channels = 2,
                        .height = map.height,
                        .width = map.width,
                        .filters = map.filters,
                        .kernel_height = 3,
                        .kernel_width = 3,
                        .padding = 1};
    const auto x = random_floats(std::size_t(s.input_size()), 1), w = random_floats(std::size_t(s.weight_size()), 2),
               bias = random_floats(std::size_t(s.filters), 3), dy = random_floats(std::size_t(s.output_size()), 4);
    const std::vector<double> expected = conv2d_reference(s, x, w, bias, dy).y;
    const GuardedBuffer<float> on_device(x), weights(w), biases(bias);
    for (const std::size_t first : {0, 1}) {  // 1: no strip begins at a multiple of 16 bytes
      INFO(text(s), ", first ", first);
      GuardedBuffer<float> y(dy.size() + first);
      conv2d_forward(s, on_device.data(), weights.data(), biases.data(), y.data() + first, Activation::none, nullptr,
                     Conv2dMethod::stencil);
      std::vector<float> result = y.download();
      result.erase(result.begin(), result.begin() + std::ptrdiff_t(first));
      CHECK(y.guards_intact());
      CHECK(norm_error(result, expected) < tolerance(s.patch() + 1));
    }
  }
}
