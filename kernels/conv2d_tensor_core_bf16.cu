// The convolutions of conv2d_tensor_core.h for operands in bf16.
#include "kernels/conv2d_weight_tensor_core.h"

namespace espalier::kernels::detail {

template void forward_on_tensor_cores(const Conv2dShape&, Conv2dLayout, const bfloat16*, const bfloat16*, const float*,
                                      float*, float, Scratch&, cudaStream_t);
template void forward_arranged(const Conv2dShape&, const ConvImages<bfloat16>&, const bfloat16*, const float*, float,
                               ConvPool, Scratch&, cudaStream_t);
template void arrange_filters(const Conv2dShape&, Conv2dLayout, const bfloat16*, bfloat16*, cudaStream_t);
template void backward_input_on_tensor_cores(const Conv2dShape&, Conv2dLayout, const bfloat16*, const bfloat16*, float*,
                                             Scratch&, cudaStream_t);
template void backward_weight_on_tensor_cores(const Conv2dShape&, Conv2dLayout, const bfloat16*, const bfloat16*,
                                              float*, float*, Scratch&, cudaStream_t);
template void backward_on_tensor_cores(const Conv2dShape&, Conv2dLayout, const bfloat16*, const bfloat16*,
                                       const bfloat16*, float*, float*, float*, Scratch&, cudaStream_t);

}  // namespace espalier::kernels::detail
