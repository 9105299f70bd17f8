// Convolutions as code against the dense ones with zeros in double. Their code is part of this program.
#include "kernels/vendor/compiled_conv2d.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "tests/support/guarded_buffer.h"
#include "tests/written/convolutions.h"

// Whatever they take: only their addresses are asked for.
extern "C" void espalier_conv2d_pooled();
extern "C" void espalier_conv2d_strided();
extern "C" void espalier_conv2d_dilated();
extern "C" void espalier_conv2d_narrow();

namespace espalier::test {
namespace {

using kernels::vendor::CompiledConv2d;

CompiledConv2d compiled(std::string_view name) {
  const auto code = name == "pooled"    ? espalier_conv2d_pooled
                    : name == "strided" ? espalier_conv2d_strided
                    : name == "dilated" ? espalier_conv2d_dilated
                                        : espalier_conv2d_narrow;
  return {written_source(name, CompiledConv2d::target()), reinterpret_cast<const void*>(code)};
}

TEST_CASE("compiled convolution: equals the dense one with zeros at batches around a block's images") {
  for (const std::string_view name : kWrittenConvolutions) {
    CAPTURE(name);
    const CompiledConv2d convolution = compiled(name);
    for (const std::int64_t batch : {1, 2, 9, 17}) {
      CAPTURE(batch);
      const SparseNetwork problem = written_convolution(name, batch);
      const GuardedBuffer<float> x(problem.x);
      GuardedBuffer<float> y(problem.y.size());
      convolution(batch, x.data(), y.data(), nullptr);
      CHECK(difference(y.download(), problem.y, 1e-5, 2e-5) == "");
      CHECK(y.guards_intact());
    }
  }
}

TEST_CASE("compiled convolution: a batch of nothing is no launch") {
  compiled("narrow")(0, nullptr, nullptr, nullptr);
  CHECK(cudaGetLastError() == cudaSuccess);
}

TEST_CASE("compiled convolution: y between two multiples of 8 bytes is refused") {
  GuardedBuffer<float> y(2);
  CHECK_THROWS_AS(compiled("narrow")(1, nullptr, y.data() + 1, nullptr), InvalidArgument);
}

}  // namespace
}  // namespace espalier::test
