// gemm_pair(): the gradients of a dense layer, dx = dy W and dw = dy^T x with db, as one launch. The blocks of the
// first product come first, then those of the second: each is too small to fill a device for long, and together they
// share one launch and one tail. Cost: the flops and bytes of both products; db comes out of the tiles of dy^T that dw
// reads anyway (on a CPU out of blocks of its own). Wins wherever both exist.
#include <algorithm>

#include "kernels/gemm.h"
#include "kernels/gemm_host_pair.h"
#include "kernels/gemm_pipelined.h"

namespace espalier::kernels {
namespace {

bool fits_one_launch(const GemmCall& first, const GemmCall& second) {
  const auto empty = [](const GemmCall& call) { return call.shape.m == 0 || call.shape.n == 0; };
  return first.transpose_a == Transpose::no && first.transpose_b == Transpose::no &&
         second.transpose_a == Transpose::yes && second.transpose_b == Transpose::no && !empty(first) &&
         !empty(second) && first.epilogue.row_sums == nullptr;
}

// ---- GPU

template <class Tile, int kVector>
__global__ void __launch_bounds__(Tile::kThreads, kResident<Tile, true>)
    pipelined_pair_kernel(GemmProduct first, GemmProduct second) {
  using DeepA = PipelinedDeepLoader<Tile, Side::a>;
  using WideA = PipelinedWideLoader<Tile, Side::a, kVector>;
  using WideB = PipelinedWideLoader<Tile, Side::b, kVector>;
  float* shared = simt::dynamic_shared<float>();
  if (blockIdx.x < first.blocks()) {
    multiply_block<Tile, DeepA, WideB, false>(first, blockIdx.x, shared);
  } else {
    multiply_block<Tile, WideA, WideB, true>(second, blockIdx.x - first.blocks(), shared);
  }
}

struct PairPlan {
  GemmPlan first, second;
};

PairPlan pair_plan(const GemmCall& first, const GemmCall& second, GemmTile tile, index_t workspace_floats) {
  const bool free = tile == GemmTile::automatic || tile == GemmTile::thin;
  const GemmTile both = free ? gemm_pair_tile(first.shape, second.shape) : tile;
  const GemmPlan one = gemm_plan(first.shape, both, workspace_floats);
  return {one, gemm_plan(second.shape, both, workspace_floats - one.workspace_floats)};
}

template <class Tile>
void multiply_pair(const GemmCall& first, const GemmCall& second, const PairPlan& plan, Workspace workspace,
                   cudaStream_t stream) {
  const GemmOperands in = gemm_operands(first), beside = gemm_operands(second);
  const GemmProduct one = pipelined<Tile>(first.shape, in, epilogue_store(first.shape, first.epilogue, first.c),
                                          nullptr, plan.first, workspace);
  Workspace rest = workspace;
  if (rest.data != nullptr) rest.data += plan.first.workspace_floats;
  if (rest.arrivals != nullptr) rest.arrivals += one.tiles();
  GemmProduct two = pipelined<Tile>(second.shape, beside, epilogue_store(second.shape, second.epilogue, second.c),
                                    second.epilogue.row_sums, plan.second, rest);
  if (one.tiles() + two.tiles() > kArrivals) two.arrivals = nullptr;
  const bool wide = rows_aligned(in.b.data, in.b.leading) && rows_aligned(beside.a.data, beside.a.leading) &&
                    rows_aligned(beside.b.data, beside.b.leading);
  simt::launch(wide ? pipelined_pair_kernel<Tile, 4> : pipelined_pair_kernel<Tile, 1>,
               {dim3(one.blocks() + two.blocks()), dim3(unsigned(Tile::kThreads)),
                kPipelineFloats<Tile> * sizeof(float), stream},
               one, two);
  finish_splits<Tile>(one, stream);
  finish_splits<Tile>(two, stream);
}

void finish_activation(const GemmCall& call, cudaStream_t stream) {
  if (is_straight(call.epilogue.activation)) return;
  activation_forward(call.shape.m * call.shape.n, call.epilogue.activation, call.epilogue.leaky_slope, call.c, call.c,
                     stream);
}

}  // namespace

void gemm_pair(const GemmCall& first, const GemmCall& second, cudaStream_t stream, Workspace workspace, GemmTile tile) {
  if (!fits_one_launch(first, second)) {
    for (const GemmCall& call : {first, second}) {
      gemm(call.shape, call.transpose_a, call.transpose_b, call.a, call.b, call.c, call.epilogue, stream, workspace,
           tile);
    }
    return;
  }
  require_separate(first);
  require_separate(second);
  if (workspace.data == nullptr) workspace = {};
  if (simt::kEmulated && tile == GemmTile::automatic) {
    const bool second_is_larger = second.shape.flops() > first.shape.flops();
    with_host_tile(product_shape(second_is_larger ? second : first), workspace.floats,
                   [&]<class Tile>(Tile) { multiply_pair_on_host<Tile>(first, second, workspace, stream); });
  } else {
    const PairPlan plan = pair_plan(first, second, tile, workspace.floats);
    const auto multiply = [&]<class Tile>(Tile) { multiply_pair<Tile>(first, second, plan, workspace, stream); };
    if (plan.first.tile == GemmTile::large) {
      multiply(PipelinedLargeTile{});
    } else if (plan.first.tile == GemmTile::medium) {
      multiply(PipelinedMediumTile{});
    } else {
      multiply(PipelinedSmallTile{});
    }
  }
  finish_activation(first, stream);
  finish_activation(second, stream);
}

index_t gemm_pair_workspace_floats(const GemmCall& first, const GemmCall& second, GemmTile tile) {
  const index_t alone = std::max(gemm_workspace_floats(first.shape, tile), gemm_workspace_floats(second.shape, tile));
  if (!fits_one_launch(first, second)) return alone;
  index_t floats = 0;
  if (simt::kEmulated && tile == GemmTile::automatic) {
    const bool second_is_larger = second.shape.flops() > first.shape.flops();
    with_host_tile(product_shape(second_is_larger ? second : first), INT64_MAX, [&]<class Tile>(Tile) {
      floats =
          product_workspace_floats<Tile>(product_shape(first)) + product_workspace_floats<Tile>(product_shape(second));
    });
    return floats;
  }
  const PairPlan plan = pair_plan(first, second, tile, INT64_MAX);
  return plan.first.workspace_floats + plan.second.workspace_floats;
}

}  // namespace espalier::kernels
