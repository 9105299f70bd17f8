// Numbers in tf32, fp16 and bf16 for tests: rounded, and back as floats; and which of them this device multiplies.
#pragma once
#include <vector>

#include "kernels/gemm_tensor_core.h"
#include "kernels/precision.h"

namespace espalier::test {

template <class T>  // float: tf32
std::vector<T> rounded(const std::vector<float>& x) {
  std::vector<T> y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    y[i] = kernels::from_float<T>(sizeof(T) == 4 ? kernels::round_to_tf32(x[i]) : x[i]);
  }
  return y;
}

template <class T>
std::vector<float> floats(const std::vector<T>& x, std::size_t from = 0) {
  std::vector<float> y;
  for (std::size_t i = from; i < x.size(); ++i) y.push_back(kernels::to_float(x[i]));
  return y;
}

// x as a product reads it in 16 bits, or as it is.
template <class T>
std::vector<float> as_read(const std::vector<float>& x) {
  if constexpr (sizeof(T) == 4) return x;
  return floats(rounded<T>(x));
}

inline std::vector<kernels::Precision> reduced_precisions() {
  std::vector<kernels::Precision> all;
  for (const auto one : {kernels::Precision::tf32, kernels::Precision::bf16, kernels::Precision::fp16}) {
    if (kernels::has_tensor_cores_for(one)) all.push_back(one);
  }
  return all;
}

}  // namespace espalier::test
