#include "kernels/pattern.h"

#include "kernels/grid.h"
#include "kernels/require.h"

namespace espalier::kernels {

// One thread per run: a run is read once into registers or cache and each member counts those that beat it. Neighbours
// along the area are neighbouring threads.
__global__ void keep_n_of_m_kernel(PlanesShape shape, int n, int m, const float* __restrict__ score,
                                   std::uint8_t* __restrict__ keep) {
  const index_t runs = (shape.channels + m - 1) / m;
  for_each_element(shape.batch * runs * shape.area, [=](index_t i) {
    const index_t place = i % shape.area, run = i / shape.area, channel = run % runs * m;
    const index_t first = (run / runs * shape.channels + channel) * shape.area + place;
    const int width = int(shape.channels - channel < m ? shape.channels - channel : m);
    const float* const candidates = score + first;
    for (int i = 0; i < width; ++i) {
      const float own = candidates[i * shape.area];
      int beaten_by = 0;
      for (int j = 0; j < width; ++j) {
        const float other = candidates[j * shape.area];
        beaten_by += other > own || (other == own && j < i);
      }
      keep[first + i * shape.area] = beaten_by < n;
    }
  });
}

__global__ void bury_pruned_kernel(index_t count, const std::uint8_t* __restrict__ keep, float* __restrict__ score) {
  for_each_element(count, [=](index_t i) { score[i] = keep[i] ? score[i] : -INFINITY; });
}

void keep_n_of_m(const PlanesShape& shape, int n, int m, const float* score, std::uint8_t* keep, cudaStream_t stream) {
  require(1 <= n && n <= m && m <= 32, "keep_n_of_m: ", n, " of ", m, "; needs 1 <= n <= m <= 32");
  const index_t runs = shape.batch * ceil_div<index_t>(shape.channels, m) * shape.area;
  if (runs > 0) simt::launch(keep_n_of_m_kernel, elements_grid(runs, stream), shape, n, m, score, keep);
}

void bury_pruned(index_t count, const std::uint8_t* keep, float* score, cudaStream_t stream) {
  if (count > 0) simt::launch(bury_pruned_kernel, elements_grid(count, stream), count, keep, score);
}

}  // namespace espalier::kernels
