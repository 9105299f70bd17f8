// The convolutions of conv2d_tensor_core.h for operands in tf32.
#include "kernels/conv2d_weight_tensor_core.h"

namespace espalier::kernels::detail {

template void forward_on_tensor_cores(const Conv2dShape&, Conv2dLayout, const float*, const float*, const float*,
                                      float*, float, Scratch&, cudaStream_t);
template void backward_input_on_tensor_cores(const Conv2dShape&, Conv2dLayout, const float*, const float*, float*,
                                             Scratch&, cudaStream_t);
template void backward_weight_on_tensor_cores(const Conv2dShape&, Conv2dLayout, const float*, const float*, float*,
                                              float*, Scratch&, cudaStream_t);

}  // namespace espalier::kernels::detail
