#include "kernels/gemm_plan.h"

#include <doctest/doctest.h>

using namespace espalier::kernels;

namespace {

constexpr index_t kRoom = INT64_MAX;

}  // namespace

TEST_CASE("gemm plan: a product that fills the device takes the large tile whole") {
  for (const GemmShape& shape : {GemmShape{4096, 4096, 4096}, GemmShape{2048, 4096, 1024}}) {
    const GemmPlan plan = gemm_plan(shape, GemmTile::automatic, kRoom);
    CHECK(plan.tile == GemmTile::large);
    CHECK(plan.splits == 1);
    CHECK(plan.workspace_floats == 0);
  }
}

TEST_CASE("gemm plan: a small C over a long k is split") {
  const GemmPlan plan = gemm_plan({4096, 256, 4096}, GemmTile::automatic, kRoom);
  CHECK(plan.tile == GemmTile::large);
  CHECK(plan.splits > 1);
  CHECK(gemm_plan({64, 64, 65536}, GemmTile::automatic, kRoom).splits > 16);
}

TEST_CASE("gemm plan: splits cover k, begin at whole steps and fit the workspace") {
  for (index_t k : {1, 127, 128, 129, 500, 1003, 40000}) {
    for (GemmTile tile : {GemmTile::small, GemmTile::medium, GemmTile::large}) {
      for (index_t room : {index_t{0}, index_t{50000}, kRoom}) {
        const GemmPlan plan = gemm_plan({61, 70, k}, tile, room);
        INFO("k ", k, ", tile ", int(tile), ", room ", room);
        CHECK(plan.tile == tile);
        CHECK(plan.split_depth % 16 == 0);
        CHECK((plan.splits - 1) * plan.split_depth < k);
        CHECK(plan.splits * plan.split_depth >= k);
        CHECK(plan.workspace_floats <= room);
      }
    }
  }
}

TEST_CASE("gemm plan: a longer k costs no less, but for rounding") {
  float before = 0;
  for (index_t k = 16; k < 5000; k += 16) {
    const float clocks = gemm_plan({128, 500, k}, GemmTile::automatic, kRoom).clocks;
    CHECK(clocks >= before * 0.98f);
    before = clocks;
  }
}
