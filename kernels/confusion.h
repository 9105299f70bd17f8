// How often class `label` was taken for class `predicted`, added up on the device: everything that accuracy, precision
// and recall need, without the host waiting for a batch. Reads 4 bytes per logit once; the sums are integers, so the
// atomic additions give the same counts in any order.
#pragma once
#include <cstdint>

#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

// counts [classes, classes] += 1 at (label, first maximum of the row) for each row of logits [rows, classes], and
// *loss_sum += rows * *mean_loss. A row whose label is no class counts nowhere.
void accumulate_confusion(index_t rows, index_t classes, const float* logits, const std::int32_t* labels,
                          const float* mean_loss, std::int64_t* counts, double* loss_sum, cudaStream_t stream);

}  // namespace espalier::kernels
