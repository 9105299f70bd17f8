#include "kernels/gemm.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "tests/support/gemm_problem.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

constexpr Transpose kNo = Transpose::no, kYes = Transpose::yes;

void check_all_transposes(GemmProblem problem) {
  for (Transpose transpose_a : {kNo, kYes}) {
    for (Transpose transpose_b : {kNo, kYes}) {
      problem.transpose_a = transpose_a, problem.transpose_b = transpose_b;
      INFO("m ", problem.shape.m, ", n ", problem.shape.n, ", k ", problem.shape.k, ", transposed ",
           transpose_a == kYes, transpose_b == kYes, ", tile ", int(problem.tile), ", offset ", problem.offset);
      CHECK(mismatch(problem) == "");
    }
  }
}

void check_sizes_around(GemmTile tile, index_t m, index_t n, index_t k) {
  for (index_t dm : {-1, 0, 1}) {
    for (index_t dn : {-1, 0, 1}) check_all_transposes({.shape = {m + dm, n + dn, k + (dm * dn)}, .tile = tile});
  }
}

}  // namespace

TEST_CASE("gemm: every small size and transpose agrees with double loops") {
  for (index_t m : {1, 2, 7}) {
    for (index_t n : {1, 4, 13}) {
      for (index_t k : {1, 5, 16, 19}) check_all_transposes({.shape = {m, n, k}});
    }
  }
}

TEST_CASE("gemm: one row, one column and one term") {
  check_all_transposes({.shape = {1, 257, 129}});
  check_all_transposes({.shape = {257, 1, 129}});
  check_all_transposes({.shape = {131, 67, 1}});
  check_all_transposes({.shape = {1, 1, 1031}, .with_workspace = true});
}

TEST_CASE("gemm: sizes around the tile of this device") {
  check_sizes_around(GemmTile::automatic, 64, 128, 64);
  check_all_transposes({.shape = {61, 97, 128}});
  check_all_transposes({.shape = {20, 41, 65}});
}

TEST_CASE("gemm: few rows, as one thread's dot products and as a warp's") {
  for (index_t m : {1, 2, 3, 4, 5, 8}) {
    for (index_t k : {1, 31, 64, 65, 259}) {
      for (GemmTile tile : {GemmTile::automatic, GemmTile::thin}) {
        for (std::size_t offset : {0, 1}) {
          INFO("m ", m, ", k ", k, ", tile ", int(tile), ", offset ", offset);
          CHECK(mismatch({.shape = {m, 11, k}, .transpose_b = kYes, .tile = tile, .offset = offset}) == "");
        }
      }
    }
  }
  CHECK(mismatch({.shape = {1, 5, 36}, .transpose_a = kYes, .transpose_b = kYes, .tile = GemmTile::thin}) == "");
  CHECK(mismatch({.shape = {7, 1031, 128},
                  .transpose_b = kYes,
                  .epilogue = {.alpha = 2, .beta = 1},
                  .tile = GemmTile::thin,
                  .with_bias = true}) == "");
  check_all_transposes({.shape = {9, 33, 20}, .tile = GemmTile::thin});
}

TEST_CASE("gemm: the GPU's small tile, also in the cpu build") { check_sizes_around(GemmTile::small, 32, 32, 33); }

TEST_CASE("gemm: the GPU's medium tile, also in the cpu build") { check_sizes_around(GemmTile::medium, 64, 64, 32); }

TEST_CASE("gemm: the GPU's large tile, also in the cpu build") {
  check_all_transposes({.shape = {128, 128, 16}, .tile = GemmTile::large});
  check_all_transposes({.shape = {132, 124, 36}, .tile = GemmTile::large});
  check_all_transposes({.shape = {127, 129, 35}, .tile = GemmTile::large});
  check_all_transposes({.shape = {3, 131, 15}, .tile = GemmTile::large});
}

TEST_CASE("gemm: the GPU's tiles at every depth around their steps") {
  for (GemmTile tile : {GemmTile::small, GemmTile::medium, GemmTile::large}) {
    for (index_t k : {1, 4, 15, 16, 17, 31, 32, 33, 48, 52}) {
      check_all_transposes({.shape = {36, 40, k}, .tile = tile, .with_row_sums = true});
    }
  }
}

TEST_CASE("gemm: matrices that miss 16-byte alignment") {
  for (GemmTile tile : {GemmTile::automatic, GemmTile::small, GemmTile::medium, GemmTile::large}) {
    check_all_transposes({.shape = {36, 68, 20}, .tile = tile, .offset = 1});
  }
}

TEST_CASE("gemm: many tiles, in bands of eight rows") {
  check_all_transposes({.shape = {9 * 32 + 5, 3 * 32 + 1, 17}, .tile = GemmTile::small});
  check_all_transposes({.shape = {64 * 9, 129, 7}});
}

TEST_CASE("gemm: k split over blocks equals the unsplit product") {
  for (GemmTile tile : {GemmTile::automatic, GemmTile::small, GemmTile::medium, GemmTile::large}) {
    const GemmShape shape{61, 70, 1003};
    REQUIRE(gemm_workspace_floats(shape, tile) > 0);
    for (bool arrivals : {false, true}) {
      check_all_transposes({.shape = shape, .tile = tile, .with_workspace = true, .with_arrivals = arrivals});
    }
    check_all_transposes({.shape = {64, 72, 600},
                          .epilogue = {.alpha = 0.5f, .beta = 2.0f},
                          .tile = tile,
                          .with_bias = true,
                          .with_workspace = true});
  }
}

TEST_CASE("gemm: a workspace too small for all splits is used as far as it goes") {
  for (index_t floats : {0, 61 * 70, 61 * 70 * 2 + 3, 61 * 70 * 3}) {
    for (GemmTile tile : {GemmTile::automatic, GemmTile::small}) {
      INFO("workspace of ", floats, " floats");
      CHECK(mismatch({.shape = {61, 70, 1003}, .tile = tile, .with_workspace = true, .workspace_at_most = floats}) ==
            "");
    }
  }
}

TEST_CASE("gemm: splits added by the last block and by a second kernel agree in every bit") {
  const GemmProblem problem{.shape = {37, 45, 1031}, .tile = GemmTile::small, .with_workspace = true};
  std::vector<float> results[2];
  for (bool arrivals : {false, true}) {
    GemmOnDevice device(problem);
    const GemmCall call = device.call();
    GuardedWorkspace workspace(gemm_workspace_floats(call.shape, problem.tile), arrivals);
    gemm(call.shape, call.transpose_a, call.transpose_b, call.a, call.b, call.c, call.epilogue, nullptr,
         workspace.get(), problem.tile);
    results[arrivals] = device.result();
  }
  CHECK(results[0] == results[1]);
}

TEST_CASE("gemm: alpha and beta") {
  for (float alpha : {1.0f, -0.75f, 0.0f}) {
    for (float beta : {0.0f, 1.0f, -0.5f}) {
      check_all_transposes({.shape = {33, 35, 21}, .epilogue = {.alpha = alpha, .beta = beta}});
      check_all_transposes(
          {.shape = {33, 36, 20}, .epilogue = {.alpha = alpha, .beta = beta}, .tile = GemmTile::small});
    }
  }
}

TEST_CASE("gemm: bias by row and by column, and every activation") {
  for (BiasAxis axis : {BiasAxis::row, BiasAxis::column}) {
    for (Activation activation : {Activation::none, Activation::relu, Activation::leaky_relu, Activation::gelu,
                                  Activation::sigmoid, Activation::tanh}) {
      for (GemmTile tile : {GemmTile::automatic, GemmTile::small}) {
        const GemmEpilogue epilogue{.bias_axis = axis, .activation = activation, .leaky_slope = 0.2f};
        INFO("bias axis ", int(axis), ", activation ", int(activation), ", tile ", int(tile));
        CHECK(mismatch({.shape = {35, 37, 23}, .epilogue = epilogue, .tile = tile, .with_bias = true}) == "");
      }
    }
  }
}

TEST_CASE("gemm: a residual is added before the activation") {
  for (GemmTile tile : {GemmTile::automatic, GemmTile::small}) {
    for (std::size_t offset : {0, 1}) {
      check_all_transposes({.shape = {35, 37, 23},
                            .epilogue = {.beta = 0.5f, .activation = Activation::relu},
                            .tile = tile,
                            .with_bias = true,
                            .with_residual = true,
                            .offset = offset});
    }
  }
}

TEST_CASE("gemm: row sums of A come with the product, split or not") {
  for (GemmTile tile : {GemmTile::automatic, GemmTile::small, GemmTile::medium}) {
    check_all_transposes({.shape = {1, 1, 3}, .tile = tile, .with_row_sums = true});
    check_all_transposes({.shape = {67, 71, 29}, .tile = tile, .with_row_sums = true});
    for (bool arrivals : {false, true}) {
      check_all_transposes({.shape = {61, 70, 1003},
                            .tile = tile,
                            .with_row_sums = true,
                            .with_workspace = true,
                            .with_arrivals = arrivals});
    }
  }
}

TEST_CASE("gemm: relu of a negative infinity is zero, and NaN passes") {
  const std::vector<float> a{-INFINITY, NAN}, b{1.0f};
  const GuardedBuffer<float> device_a(a), device_b(b);
  GuardedBuffer<float> c(2);
  gemm({.m = 2, .n = 1, .k = 1}, kNo, kNo, device_a.data(), device_b.data(), c.data(), {.activation = Activation::relu},
       nullptr);
  CHECK(c.download()[0] == 0.0f);
  CHECK(std::isnan(c.download()[1]));
}

TEST_CASE("gemm: an empty k leaves beta C + bias, an empty C is left alone") {
  CHECK(mismatch({.shape = {3, 5, 0}, .epilogue = {.beta = 2.0f}, .with_bias = true}) == "");
  CHECK(mismatch({.shape = {3, 5, 0}, .with_bias = true}) == "");
  CHECK_NOTHROW(gemm({.m = 0, .n = 4, .k = 4}, kNo, kNo, nullptr, nullptr, nullptr, {}, nullptr));
}

TEST_CASE("gemm: a product into its own operand is refused") {
  GuardedBuffer<float> x(16);
  CHECK_THROWS_AS(gemm({.m = 4, .n = 4, .k = 4}, kNo, kNo, x.data(), x.data(), x.data(), {}, nullptr), InvalidArgument);
}

TEST_CASE("gemm: the epilogue alone gives a finished product bias and activation") {
  const GemmShape shape{.m = 5, .n = 67, .k = 3};
  const std::vector<float> c = random_floats(5 * 67, 1), bias = random_floats(67, 2);
  for (Activation activation : {Activation::none, Activation::relu, Activation::sigmoid}) {
    GuardedBuffer<float> device_c(c);
    const GuardedBuffer<float> device_bias(bias);
    const GemmEpilogue epilogue{.bias = device_bias.data(), .activation = activation};
    gemm_epilogue(shape, epilogue, device_c.data(), nullptr);
    CHECK(device_c.guards_intact());
    const GemmEpilogue keep{.beta = 1.0f, .activation = activation};
    CHECK(gemm_difference(shape, device_c.download(), gemm_reference({5, 67, 0}, kNo, kNo, {}, {}, c, bias, keep)) ==
          "");
  }
}

TEST_CASE("gemm: a product of many tiles and steps") {
  const index_t size = simt::kEmulated ? 389 : 150;
  check_all_transposes({.shape = {size, size + 11, size + 4}, .with_workspace = true});
}
