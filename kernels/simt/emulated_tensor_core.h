// The warp-wide products and matrix loads of tensor_core.h for g++: the fragments of all lanes are put together to
// whole matrices by the layouts documented there. Products are exact and summed in double, rounded once: at least as
// exact as the hardware, whose order and width of summation are not documented. tf32 ignores the last 13 bits, as it
// does there.
#pragma once
#include <bit>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <stdexcept>
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

inline void add_products(const double* a, int depth, const double (*b)[8], int lane, float* d) {
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    double sum = double(d[i]);
    for (int k = 0; k < depth; ++k) sum += a[row * depth + k] * b[k][column];
    d[i] = float(sum);
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
  for (int lane = 0; lane < 32; ++lane) add_products(a[0], kDepth, b, lane, lanes[lane]->d);
}

template <class T>
void warp_product(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                  std::source_location site = std::source_location::current()) {
  WarpProduct mine{d, a, b};
  warp_collective(kWholeWarp, mine, multiply_lanes<T>, site);
}

struct SparseWarpProduct {
  float* d;
  const unsigned *a, *b;
  unsigned places;
};

// The column, within its group, of the first or second kept element that a nibble of places describes. Throws where the
// hardware's result is undefined.
template <class T>
int kept_column(unsigned nibble, int which) {
  if constexpr (std::is_same_v<T, float>) {
    if (nibble != 0x4 && nibble != 0xE) throw std::runtime_error("mma.sp of tf32: a nibble of places is not 4 or 14");
    return nibble == 0xE;
  } else {
    if ((nibble & 3) >= nibble >> 2) throw std::runtime_error("mma.sp: the two places of a group do not ascend");
    return int(nibble >> 2 * which & 3);
  }
}

template <class T, int kSelector>
void multiply_sparse_lanes(SparseWarpProduct** lanes) {
  constexpr int kPer = std::is_same_v<T, float> ? 1 : 2, kKept = 8 * kPer, kDepth = 2 * kKept;
  constexpr int kGroup = 2 * kPer;  // columns of a group, of which kPer are kept
  double kept[16][kKept], a[16][kDepth] = {}, b[kDepth][8];
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
      for (int e = 0; e < kPer; ++e) {
        kept[g + i % 2 * 8][t * kPer + e + i / 2 * 4 * kPer] = element<T>(lanes[lane]->a[i], e);
        b[t * kPer + e + i * 4 * kPer][g] = element<T>(lanes[lane]->b[i], e);
      }
    }
  }
  for (int row = 0; row < 16; ++row) {
    for (int k = 0; k < kKept; ++k) {
      const int group = k / kPer, lane = row % 8 * 4 + kSelector * 2 + group / 4;
      const unsigned nibble = lanes[lane]->places >> (16 * (row / 8) + 4 * (group % 4)) & 15u;
      a[row][group * kGroup + kept_column<T>(nibble, k % kPer)] = kept[row][k];
    }
  }
  for (int lane = 0; lane < 32; ++lane) add_products(a[0], kDepth, b, lane, lanes[lane]->d);
}

template <class T, int kSelector>
void sparse_warp_product(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[4], unsigned places,
                         std::source_location site = std::source_location::current()) {
  SparseWarpProduct mine{d, a, b, places};
  warp_collective(kWholeWarp, mine, multiply_sparse_lanes<T, kSelector>, site);
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
