// What benchmark_kernels can run: a case is one launcher at one shape, with its ideal work, and the ways of doing it:
// ours first, then the vendor's and the earlier rungs of our own ladder. A new kernel adds a case to the family it
// belongs to; a new family adds a function here and a line in all_cases().
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/device/gpu_model.h"

namespace espalier::benchmarks {

struct Variant {
  std::string by;             // "ours", "cuBLAS", "medium tiles"
  std::function<void()> run;  // enqueues on current_stream(); holds its operands
};
using Variants = std::vector<Variant>;

struct Case {
  std::string kernel, shape;          // "gemm", "lenet-5 dense_1, y"
  double flops = 0, bytes = 0;        // ideal: every operand once (kernels/shapes.h)
  std::function<Variants()> prepare;  // makes the operands
  bool tensor = false;                // its flops run on tensor cores
  bool large = false;                 // too slow for the emulation: in the cpu build only when asked for

  std::string name() const { return kernel + ": " + shape; }
};
using Cases = std::vector<Case>;

inline TensorType tensor_type_of(const Case& one) {
  return one.kernel.find("tf32") == std::string::npos ? TensorType::half : TensorType::tf32;
}

Cases gemm_cases();
Cases convolution_cases();
Cases tensor_core_convolution_cases();
Cases map_cases();         // elementwise, activations, random numbers, conversions
Cases reduction_cases();   // sums, softmax, losses, normalisation
Cases image_cases();       // pooling, gathering batches, im2col, layouts
Cases training_cases();    // optimizers, loss scaling
Cases pruning_cases();     // scores, masks, patterns, encoding
Cases penalty_cases();     // what pulls weights to zero while a model trains
Cases sparse_cases();      // sparse products beside dense ones
Cases compiled_convolution_cases();
Cases structured_cases();  // those of structured sparsity; then its convolutions
Cases structured_convolution_cases();

inline Cases all_cases() {
  Cases all;
  for (const auto& family :
       {gemm_cases, convolution_cases, tensor_core_convolution_cases, map_cases, reduction_cases, image_cases,
        training_cases, pruning_cases, penalty_cases, sparse_cases, compiled_convolution_cases, structured_cases,
        structured_convolution_cases}) {
    for (Case& one : family()) all.push_back(std::move(one));
  }
  return all;
}

}  // namespace espalier::benchmarks
