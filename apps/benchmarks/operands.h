// Operands for benchmarks: random, so that no kernel meets a value it could treat specially, and the same every time.
#pragma once
#include <cstdint>
#include <string>

#include "core/tensor/tensor.h"
#include "kernels/shapes.h"

namespace espalier::benchmarks {

Tensor random(const Shape& shape, std::uint64_t seed = 1);                             // f32, uniform in [-1, 1)
Tensor random_bytes(const Shape& shape, int below = 256);                              // u8, uniform in [0, below)
Tensor random_labels(std::int64_t count, int classes);                                 // i32
Tensor random_bits(std::int64_t count, double density);                                // u32 words, a bit per element
Tensor sparse_weight(const Shape& shape, double sparsity);                             // f32, zeros at random places
Tensor block_sparse_weight(std::int64_t rows, std::int64_t columns, double sparsity);  // whole 8 x 8 blocks are zero
Tensor two_four_weight(std::int64_t rows, std::int64_t columns);                       // f32, two of each four are zero
Tensor keep_of(const Tensor& weight);                                                  // u8, 1 where it is not zero

Tensor panels_of(const Tensor& x);  // [batch, features], as panel products want it (panels.h)

// Scratch memory for a launcher, in floats or bytes, at least one float, and the counters that let it do with one
// launch.
class Scratch {
 public:
  explicit Scratch(std::int64_t floats)
      : memory_(Tensor::empty({floats + 1})),
        arrivals_(Tensor::zeros({kernels::kArrivals}, DType::u32)),
        floats_(floats) {}
  static Scratch of_bytes(std::size_t bytes) { return Scratch(std::int64_t(bytes + 3) / 4); }
  kernels::Workspace get() const { return {memory_.data<float>(), floats_, arrivals()}; }
  void* raw() const { return memory_.raw(); }
  unsigned* arrivals() const { return arrivals_.data<std::uint32_t>(); }
  float* floats() const { return memory_.data<float>(); }

 private:
  Tensor memory_, arrivals_;
  std::int64_t floats_;
};

}  // namespace espalier::benchmarks
