// One thread per row: with the ten to some hundred classes this is meant for, a batch of logits fits in the L1 cache,
// where the strided reads of neighbouring threads find the lines again.
#include "kernels/confusion.h"

#include "kernels/grid.h"
#include "kernels/require.h"

namespace espalier::kernels {
namespace {

__global__ void accumulate_confusion_kernel(index_t rows, index_t classes, const float* __restrict__ logits,
                                            const std::int32_t* __restrict__ labels,
                                            const float* __restrict__ mean_loss,
                                            unsigned long long* __restrict__ counts, double* __restrict__ loss_sum) {
  if (blockIdx.x == 0 && threadIdx.x == 0) *loss_sum += double(rows) * double(*mean_loss);
  for_each_element(rows, [&](index_t row) {
    const float* const scores = logits + row * classes;
    index_t best = 0;
    for (index_t k = 1; k < classes; ++k) {
      if (scores[k] > scores[best]) best = k;
    }
    const index_t label = labels[row];
    if (label >= 0 && label < classes) atomicAdd(&counts[label * classes + best], 1ull);
  });
}

}  // namespace

void accumulate_confusion(index_t rows, index_t classes, const float* logits, const std::int32_t* labels,
                          const float* mean_loss, std::int64_t* counts, double* loss_sum, cudaStream_t stream) {
  require(rows >= 1 && classes >= 1, "accumulate_confusion: ", rows, " rows of ", classes, " classes");
  simt::launch(accumulate_confusion_kernel, elements_grid(rows, stream), rows, classes, logits, labels, mean_loss,
               reinterpret_cast<unsigned long long*>(counts), loss_sum);
}

}  // namespace espalier::kernels
