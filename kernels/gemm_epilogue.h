// What happens to a product on its way to C: the store of gemm.cu and of gemm_tensor_core.cu, for C in fp32 or 16 bits.
#pragma once
#include "kernels/gemm.h"
#include "kernels/gemm_tile.h"
#include "kernels/simt/half.h"

namespace espalier::kernels {

// Four neighbours of 16 bits in one 64-bit store, where they are all inside and aligned.
template <class T, int kCount>
requires(sizeof(T) == 2) __device__
    inline void store_run(T* to, index_t left, bool aligned, const float (&values)[kCount]) {
  struct alignas(8) Four {
    T value[4];
  };
  if constexpr (kCount == 4) {
    if (aligned && left >= kCount) {
      *reinterpret_cast<Four*>(to) = {from_float<T>(values[0]), from_float<T>(values[1]), from_float<T>(values[2]),
                                      from_float<T>(values[3])};
      return;
    }
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (i < left) to[i] = from_float<T>(values[i]);
  }
}

// activation(alpha * product + beta * C + bias + residual) for the activations that are straight on both sides of zero.
struct Epilogue {
  index_t m, n;
  float alpha, beta;
  const float *row_bias, *column_bias, *residual;
  float slope;        // below zero: 1 leaves the number alone, 0 is relu
  const float* gate;  // null: none
  float gate_slope;
  bool aligned;  // every row begins where four neighbours can be stored at once

  // False outside of C, whose i-th number from (row, column) on is c(i).
  template <int kCount, class C>
  __device__ bool finish(index_t row, index_t column, const float (&product)[kCount], float (&values)[kCount],
                         const C& c) const {
    if (row >= m || column >= n) return false;
    const index_t left = n - column;
    const float shift = row_bias == nullptr ? 0.0f : row_bias[row];
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = alpha * product[i] + shift;
    if (beta != 0.0f) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] += i < left ? beta * c(i) : 0.0f;
    }
    if (column_bias != nullptr) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] += i < left ? column_bias[column + i] : 0.0f;
    }
    if (residual != nullptr) {
      const float* from = residual + row * n + column;
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] += i < left ? from[i] : 0.0f;
    }
    if (slope != 1.0f) {
      const float below = slope;
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float bent = below == 0.0f ? 0.0f : below * values[i];  // not 0 * -inf
        values[i] = values[i] <= 0.0f ? bent : values[i];
      }
    }
    if (gate != nullptr) {
      const float* kept = gate + row * n + column;
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        if (i < left && kept[i] <= 0.0f) values[i] = gate_slope == 0.0f ? 0.0f : gate_slope * values[i];
      }
    }
    return true;
  }
};

template <class T>
struct EpilogueStore : Epilogue {
  T* c;

  template <int kCount>
  __device__ void operator()(index_t, index_t row, index_t column, const float (&product)[kCount]) const {
    T* to = c + row * n + column;
    float values[kCount];
    if (finish(row, column, product, values, [to](int i) { return to_float(to[i]); })) {
      store_run(to, n - column, aligned, values);
    }
  }
};

template <class T>
EpilogueStore<T> epilogue_store(const GemmShape& shape, const GemmEpilogue& epilogue, T* c) {
  const bool by_row = epilogue.bias_axis == BiasAxis::row;
  const float slope = epilogue.activation == Activation::relu         ? 0.0f
                      : epilogue.activation == Activation::leaky_relu ? epilogue.leaky_slope
                                                                      : 1.0f;
  return {{.m = shape.m,
           .n = shape.n,
           .alpha = epilogue.alpha,
           .beta = epilogue.beta,
           .row_bias = by_row ? epilogue.bias : nullptr,
           .column_bias = by_row ? nullptr : epilogue.bias,
           .residual = epilogue.residual,
           .slope = slope,
           .gate = epilogue.gate,
           .gate_slope = epilogue.gate_slope,
           .aligned = reinterpret_cast<std::uintptr_t>(c) % (4 * sizeof(T)) == 0 && shape.n % 4 == 0},
          c};
}

}  // namespace espalier::kernels
