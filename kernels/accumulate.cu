#include "kernels/accumulate.h"

#include "kernels/grid.h"

namespace espalier::kernels {

__global__ void accumulate_kernel(index_t count, const float* a, const float* b, float* y) {
  for_each_element(count, [=](index_t i) { y[i] = a[i] + b[i]; });
}

__global__ void zero_masked_kernel(index_t count, const std::uint8_t* __restrict__ keep, float* values) {
  for_each_element(count, [=](index_t i) { values[i] = keep[i] ? values[i] : 0.0f; });
}

__global__ void fill_value_kernel(index_t count, float value, float* values) {
  for_each_element(count, [=](index_t i) { values[i] = value; });
}

void accumulate(index_t count, const float* a, const float* b, float* y, cudaStream_t stream) {
  simt::launch(accumulate_kernel, elements_grid(count, stream), count, a, b, y);
}

void zero_masked(index_t count, const std::uint8_t* keep, float* values, cudaStream_t stream) {
  simt::launch(zero_masked_kernel, elements_grid(count, stream), count, keep, values);
}

void fill_value(index_t count, float value, float* values, cudaStream_t stream) {
  simt::launch(fill_value_kernel, elements_grid(count, stream), count, value, values);
}

}  // namespace espalier::kernels
