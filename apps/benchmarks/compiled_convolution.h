// Convolutions as code (kernels/sparse/conv2d_source.h) that is part of the program, so that a PTX emulator can count
// what it does: written out when the program is built, in the layout for an A100. A plan compiles code for the device
// at hand instead; benchmark_sparse times that.
#pragma once
#include <string_view>

#include "apps/benchmarks/sparse_values.h"
#include "kernels/sparse/conv2d_source.h"

namespace espalier::benchmarks {

constexpr double kCompiledSparsity = 0.9;

inline kernels::Conv2dSource source_of(const kernels::Conv2dShape& shape, kernels::SourceTarget target) {
  kernels::FusedProduct product{.shape = shape};
  product.set_weight(sparse_values(std::size_t(shape.weight_size()), kCompiledSparsity));
  const auto layout = conv2d_source_layout(product, shape.batch,
                                           {.multiprocessors = 108, .shared_bytes = 163 * 1024, .fp32_lanes = 64});
  return conv2d_source(product, layout, target);
}

struct CompiledConvolution {
  std::string_view word, name;  // word: as CMakeLists.txt calls it
  kernels::Conv2dShape shape;
};
inline constexpr CompiledConvolution kCompiledConvolutions[] = {
    {"lenet_5", "lenet-5 conv2d_2, batch 128", {128, 20, 12, 12, 50, 5, 5}},
    {"seed_cnn", "seed-cnn conv2d_2, batch 128", {128, 32, 13, 13, 64, 3, 3}},
};

}  // namespace espalier::benchmarks
