// Convolutions of a stride, whose kernels (conv2d_stencil.h, conv2d_point.h) differ from those of none.
#include "tests/support/conv2d_directions.h"

using namespace espalier::kernels;
using namespace espalier::test;

TEST_CASE("conv2d: 1x1 kernels of stride 2, over rows that are whole vectors and others") {
  for (index_t width : {12, 13, 14, 36}) {
    for (index_t height : {5, 6}) {
      check_all_directions({.batch = 3, .channels = 6, .height = height, .width = width, .filters = 33, .stride = 2});
    }
  }
  check_all_directions({.batch = 3, .channels = 6, .height = 9, .width = 8, .filters = 4, .stride = 2, .groups = 2});
}

TEST_CASE("conv2d: 3x3 kernels of stride 2, over maps that fit whole and in parts") {
  for (index_t size : {5, 6, 7, 8, 9, 14}) {
    for (index_t padding : {0, 1, 2, 3}) {
      check_all_directions({.batch = 3,
                            .channels = 3,
                            .height = size,
                            .width = size + 3,
                            .filters = 5,
                            .kernel_height = 3,
                            .kernel_width = 3,
                            .stride = 2,
                            .padding = padding});
    }
  }
  for (index_t channels : {1, 5, 16, 20}) {
    check_all_directions({.batch = 2,
                          .channels = channels,
                          .height = 14,
                          .width = 28,
                          .filters = 83,
                          .kernel_height = 3,
                          .kernel_width = 3,
                          .stride = 2,
                          .padding = 1});
  }
  check_all_directions({.batch = 2,
                        .channels = 6,
                        .height = 57,
                        .width = 56,
                        .filters = 20,
                        .kernel_height = 3,
                        .kernel_width = 3,
                        .stride = 2,
                        .padding = 1,
                        .groups = 2});
  check_all_directions(
      {.height = 41, .width = 301, .filters = 9, .kernel_height = 3, .kernel_width = 3, .stride = 2, .padding = 1});
}
