// Numbers that the benchmarks' operands are made of, on the host.
#pragma once
#include <cstddef>
#include <random>
#include <vector>

namespace espalier::benchmarks {

inline double unit(std::mt19937& engine) { return double(engine() >> 8) * 0x1p-24; }

// Zeros at random places; the same ones each time.
inline std::vector<float> sparse_values(std::size_t count, double sparsity) {
  std::mt19937 engine(1);
  std::vector<float> values(count);
  for (float& value : values) {
    const bool kept = unit(engine) >= sparsity;
    const float drawn = 0.01f + float(unit(engine));
    value = kept ? drawn : 0.0f;
  }
  return values;
}

}  // namespace espalier::benchmarks
