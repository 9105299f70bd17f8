// Conversions between number formats. On a GPU a thread moves four elements at a time, 128 bits of float and 64 of the
// 16-bit formats, where both arrays are aligned so; on a CPU the compiler vectorises the loop.
#include "kernels/precision.h"

#include "kernels/grid.h"

namespace espalier::kernels {
namespace {

constexpr int kPack = simt::kContiguousElements ? 1 : 4;

template <class T, int kCount>
struct alignas(sizeof(T) * kCount) Pack {
  T value[kCount];
};

template <class To>
struct Narrow {
  __device__ To operator()(float x) const { return from_float<To>(x); }
};
struct Widen {
  template <class From>
  __device__ float operator()(From x) const {
    return to_float(x);
  }
};
struct RoundToTf32 {
  __device__ float operator()(float x) const { return round_to_tf32(x); }
};

// y[i] = map(x[i]), kCount elements a time.
template <int kCount, class From, class To, class Map>
__global__ void map_kernel(index_t packs, const From* x, To* y, Map map) {
  for_each_element(packs, [&](index_t i) {
    const auto from = reinterpret_cast<const Pack<From, kCount>*>(x)[i];
    Pack<To, kCount> to;
#pragma unroll
    for (int c = 0; c < kCount; ++c) to.value[c] = map(from.value[c]);
    reinterpret_cast<Pack<To, kCount>*>(y)[i] = to;
  });
}

template <class From, class To, class Map>
void map_elements(index_t count, const From* x, To* y, const Map& map, cudaStream_t stream) {
  const bool aligned = reinterpret_cast<std::uintptr_t>(x) % sizeof(Pack<From, kPack>) == 0 &&
                       reinterpret_cast<std::uintptr_t>(y) % sizeof(Pack<To, kPack>) == 0;
  const index_t packs = aligned ? count / kPack : 0, rest = count - packs * kPack;
  if (packs > 0) simt::launch(map_kernel<kPack, From, To, Map>, elements_grid(packs, stream), packs, x, y, map);
  if (rest == 0) return;
  x += count - rest, y += count - rest;
  simt::launch(map_kernel<1, From, To, Map>, elements_grid(rest, stream), rest, x, y, map);
}

}  // namespace

void round_to_tf32(index_t count, const float* x, float* y, cudaStream_t stream) {
  map_elements(count, x, y, RoundToTf32{}, stream);
}

void convert(index_t count, const float* x, half* y, cudaStream_t stream) {
  map_elements(count, x, y, Narrow<half>{}, stream);
}
void convert(index_t count, const float* x, bfloat16* y, cudaStream_t stream) {
  map_elements(count, x, y, Narrow<bfloat16>{}, stream);
}
void convert(index_t count, const half* x, float* y, cudaStream_t stream) {
  map_elements(count, x, y, Widen{}, stream);
}
void convert(index_t count, const bfloat16* x, float* y, cudaStream_t stream) {
  map_elements(count, x, y, Widen{}, stream);
}

}  // namespace espalier::kernels
