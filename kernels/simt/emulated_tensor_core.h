// The warp-wide products and matrix loads of tensor_core.h for g++: the fragments of all lanes are put together to
// whole matrices by the layouts documented there. Products are exact and summed in double, rounded once: at least as
// exact as the hardware, whose order and width of summation are not documented. tf32 ignores the last 13 bits, as it
// does there.
#pragma once
#include <bit>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>

#include "kernels/simt/emulated_warp.h"
#include "kernels/simt/half.h"

namespace espalier::simt::detail {

constexpr unsigned kWholeWarp = 0xFFFFFFFFu;

struct WarpProduct {
  float* d;
  const unsigned *a, *b;
};

// Element `at` (0 or 1) of a register: tf32 has one.
template <class T>
double element(unsigned bits, int at) {
  if constexpr (std::is_same_v<T, float>) {
    return double(std::bit_cast<float>(bits & 0xFFFFE000u));
  } else {
    return double(kernels::to_float(T{static_cast<std::uint16_t>(bits >> (16 * at))}));
  }
}

template <class T>
void multiply_lanes(WarpProduct** lanes) {
  constexpr int kPer = std::is_same_v<T, float> ? 1 : 2, kDepth = 8 * kPer;  // elements of a register; of the product
  double a[16][kDepth], b[kDepth][8];
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
      for (int e = 0; e < kPer; ++e) {
        const int k = t * kPer + e + i / 2 * 4 * kPer;
        a[g + i % 2 * 8][k] = element<T>(lanes[lane]->a[i], e);
        if (i % 2 == 0) b[k][g] = element<T>(lanes[lane]->b[i / 2], e);
      }
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      double sum = double(lanes[lane]->d[i]);
      for (int k = 0; k < kDepth; ++k) sum += a[row][k] * b[k][column];
      lanes[lane]->d[i] = float(sum);
    }
  }
}

template <class T>
void warp_product(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                  std::source_location site = std::source_location::current()) {
  WarpProduct mine{d, a, b};
  warp_collective(kWholeWarp, mine, multiply_lanes<T>, site);
}

struct WarpLoad {
  unsigned* r;
  const void* row;
};

template <bool kTransposed, int kCount>
void load_lanes(WarpLoad** lanes) {
  for (int matrix = 0; matrix < kCount; ++matrix) {
    std::uint16_t stored[8][8];
    for (int row = 0; row < 8; ++row) std::memcpy(stored[row], lanes[matrix * 8 + row]->row, sizeof stored[row]);
    for (int lane = 0; lane < 32; ++lane) {
      const int g = lane / 4, t = lane % 4;
      const unsigned low = kTransposed ? stored[2 * t][g] : stored[g][2 * t];
      const unsigned high = kTransposed ? stored[2 * t + 1][g] : stored[g][2 * t + 1];
      lanes[lane]->r[matrix] = low | high << 16;
    }
  }
}

template <bool kTransposed, int kCount>
void warp_load(unsigned (&r)[kCount], const void* row, std::source_location site = std::source_location::current()) {
  WarpLoad mine{r, row};
  warp_collective(kWholeWarp, mine, load_lanes<kTransposed, kCount>, site);
}

}  // namespace espalier::simt::detail
