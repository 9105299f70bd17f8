#include <doctest/doctest.h>

#include "kernels/gemm.h"
#include "tests/support/gemm_problem.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

constexpr Transpose kYes = Transpose::yes;

// dx [batch, in] = dy W beside dw [out, in] = dy^T x with db [out].
struct DenseBackward {
  index_t batch, in, out;
  GemmTile tile = GemmTile::automatic;
  bool with_workspace = true, with_arrivals = true, with_bias = true;
  std::size_t offset = 0;
};

std::string mismatch(const DenseBackward& layer) {
  return mismatch_of_pair({.shape = {layer.batch, layer.in, layer.out},
                           .tile = layer.tile,
                           .with_workspace = layer.with_workspace,
                           .with_arrivals = layer.with_arrivals,
                           .offset = layer.offset},
                          {.shape = {layer.out, layer.in, layer.batch},
                           .transpose_a = kYes,
                           .with_row_sums = layer.with_bias,
                           .offset = layer.offset});
}

std::size_t kernel_nodes(const GemmCall& first, const GemmCall& second, const Workspace& workspace, GemmTile tile) {
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cuda_check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  cuda_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  gemm_pair(first, second, stream, workspace, tile);
  cuda_check(cudaStreamEndCapture(stream, &graph));
  std::size_t count = 0;
  cuda_check(cudaGraphGetNodes(graph, nullptr, &count));
  cuda_check(cudaGraphDestroy(graph));
  cuda_check(cudaStreamDestroy(stream));
  return count;
}

constexpr GemmTile kTiles[] = {GemmTile::automatic, GemmTile::small, GemmTile::medium, GemmTile::large};

}  // namespace

TEST_CASE("gemm pair: both gradients of a dense layer, by every tile") {
  for (GemmTile tile : kTiles) {
    for (std::size_t offset : {0, 1}) {
      INFO("tile ", int(tile), ", offset ", offset);
      CHECK(mismatch({.batch = 1, .in = 1, .out = 1, .tile = tile, .offset = offset}) == "");
      CHECK(mismatch({.batch = 17, .in = 36, .out = 129, .tile = tile, .offset = offset}) == "");
      CHECK(mismatch({.batch = 64, .in = 68, .out = 20, .tile = tile, .offset = offset}) == "");
      CHECK(mismatch({.batch = 31, .in = 67, .out = 10, .tile = tile, .with_bias = false, .offset = offset}) == "");
    }
  }
}

TEST_CASE("gemm pair: split or not, finished by the last block or by a second kernel") {
  for (GemmTile tile : kTiles) {
    for (bool workspace : {false, true}) {
      for (bool arrivals : {false, true}) {
        INFO("tile ", int(tile), ", workspace ", workspace, ", arrivals ", arrivals);
        CHECK(mismatch({.batch = 1031,
                        .in = 36,
                        .out = 20,
                        .tile = tile,
                        .with_workspace = workspace,
                        .with_arrivals = arrivals}) == "");
        CHECK(mismatch({.batch = 33,
                        .in = 40,
                        .out = 1200,
                        .tile = tile,
                        .with_workspace = workspace,
                        .with_arrivals = arrivals}) == "");
      }
    }
  }
}

TEST_CASE("gemm pair: other transposes, other orders and an empty product") {
  const GemmProblem input{.shape = {33, 67, 20}, .with_workspace = true, .with_arrivals = true};
  const GemmProblem weight{.shape = {20, 67, 33}, .transpose_a = kYes, .with_row_sums = true};
  CHECK(mismatch_of_pair(weight, input) == "");
  CHECK(mismatch_of_pair({.shape = {5, 6, 7}, .transpose_b = kYes}, weight) == "");
  CHECK(mismatch_of_pair({.shape = {1, 1, 1}}, {.shape = {0, 3, 4}}) == "");
}

TEST_CASE("gemm pair: epilogues of their own, curved activations included") {
  for (GemmTile tile : {GemmTile::automatic, GemmTile::small}) {
    CHECK(mismatch_of_pair({.shape = {33, 36, 20},
                            .epilogue = {.alpha = 2, .activation = Activation::tanh},
                            .tile = tile,
                            .with_residual = true},
                           {.shape = {20, 36, 33},
                            .transpose_a = kYes,
                            .epilogue = {.beta = 0.5f, .activation = Activation::relu},
                            .with_bias = true,
                            .with_row_sums = true}) == "");
  }
}

TEST_CASE("gemm pair: one node of a graph, split or not") {
  for (GemmTile tile : kTiles) {
    for (index_t batch : {128, 8192}) {
      GemmOnDevice first({.shape = {batch, 40, 24}}), second({.shape = {24, 40, batch}, .with_row_sums = true});
      GemmCall one = first.call(), two = second.call();
      two.transpose_a = kYes;
      GuardedWorkspace workspace(gemm_pair_workspace_floats(one, two, tile), true);
      CHECK(kernel_nodes(one, two, workspace.get(), tile) == 1);
    }
  }
}
