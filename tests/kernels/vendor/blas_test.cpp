#include "kernels/vendor/blas.h"

#include <doctest/doctest.h>

#include "tests/support/gemm_problem.h"

using namespace espalier::kernels;
using namespace espalier::test;

namespace {

void check_all_transposes(GemmProblem problem) {
  problem.maker = Maker::vendor;
  for (Transpose transpose_a : {Transpose::no, Transpose::yes}) {
    for (Transpose transpose_b : {Transpose::no, Transpose::yes}) {
      problem.transpose_a = transpose_a, problem.transpose_b = transpose_b;
      INFO("m ", problem.shape.m, ", n ", problem.shape.n, ", k ", problem.shape.k, ", transposed ",
           transpose_a == Transpose::yes, transpose_b == Transpose::yes);
      CHECK(mismatch(problem) == "");
    }
  }
}

}  // namespace

TEST_CASE("vendor gemm: every size and transpose agrees with double loops") {
  for (index_t m : {1, 7, 33}) {
    for (index_t n : {1, 4, 35}) {
      for (index_t k : {1, 19, 64}) check_all_transposes({.shape = {m, n, k}});
    }
  }
  check_all_transposes({.shape = {67, 130, 97}, .with_workspace = true});
}

TEST_CASE("vendor gemm: alpha, beta, bias and activation are those of our own") {
  for (float beta : {0.0f, -0.5f}) {
    for (BiasAxis axis : {BiasAxis::row, BiasAxis::column}) {
      for (Activation activation : {Activation::none, Activation::relu, Activation::leaky_relu, Activation::gelu}) {
        check_all_transposes({.shape = {9, 37, 23},
                              .epilogue = {.alpha = 0.75f, .beta = beta, .bias_axis = axis, .activation = activation},
                              .with_bias = true});
      }
    }
  }
}

TEST_CASE("vendor gemm: an empty C is left alone") {
  CHECK_NOTHROW(
      vendor::gemm({.m = 0, .n = 4, .k = 4}, Transpose::no, Transpose::no, nullptr, nullptr, nullptr, {}, nullptr));
  CHECK(!vendor::blas_name().empty());
}

TEST_CASE("vendor gemm: a captured product runs at each launch of its graph") {
  const GemmShape shape{.m = 3, .n = 5, .k = 7};
  const std::vector<float> host_a = random_floats(21, 1), host_b = random_floats(35, 2);
  const GuardedBuffer<float> a(host_a), b(host_b);
  GuardedBuffer<float> c(std::vector<float>(15, 1.0f));
  GuardedBuffer<float> scratch{std::size_t(vendor::gemm_workspace_floats(shape))};
  const Workspace workspace{scratch.data(), index_t(scratch.size())};
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  cuda_check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  vendor::gemm(shape, Transpose::no, Transpose::no, a.data(), b.data(), c.data(), {.beta = 1}, stream, workspace);
  cuda_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  vendor::gemm(shape, Transpose::no, Transpose::no, a.data(), b.data(), c.data(), {.beta = 1}, stream, workspace);
  cuda_check(cudaStreamEndCapture(stream, &graph));
  cuda_check(cudaGraphInstantiate(&executable, graph, 0));
  for (int i = 0; i < 2; ++i) cuda_check(cudaGraphLaunch(executable, stream));
  cuda_check(cudaStreamSynchronize(stream));
  const GemmInDouble expected = gemm_reference(shape, Transpose::no, Transpose::no, host_a, host_b,
                                               std::vector<float>(15, 1.0f / 3), {}, {.alpha = 3, .beta = 3});
  CHECK(gemm_difference(shape, c.download(), expected) == "");
  cuda_check(cudaGraphExecDestroy(executable));
  cuda_check(cudaGraphDestroy(graph));
  cuda_check(cudaStreamDestroy(stream));
}
