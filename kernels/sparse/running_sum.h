// Running sums of counts: what turns the sizes of rows into offsets. One block; rows are few beside weights.
#pragma once
#include "kernels/simt/simt.h"

namespace espalier::kernels {

// values[i] = values[0] + ... + values[i]
void running_sum(int count, std::int32_t* values, cudaStream_t stream);

}  // namespace espalier::kernels
