// The convolutions of conv2d_tensor_core.h for operands in tf32.
#include "kernels/conv2d_weight_tensor_core.h"

namespace espalier::kernels::detail {

template void forward_on_tensor_cores(const Conv2dShape&, Conv2dLayout, const float*, const float*, const float*,
                                      float*, float, Scratch&, cudaStream_t);
template void forward_arranged(const Conv2dShape&, const ConvImages<float>&, const float*, const float*, float,
                               ConvPool, Scratch&, cudaStream_t);
template void arrange_filters(const Conv2dShape&, Conv2dLayout, const float*, float*, cudaStream_t);
template void backward_input_on_tensor_cores(const Conv2dShape&, Conv2dLayout, const float*, const float*, float*,
                                             Scratch&, cudaStream_t);
template void backward_weight_on_tensor_cores(const Conv2dShape&, Conv2dLayout, const float*, const float*, float*,
                                              float*, Scratch&, cudaStream_t);
template void backward_on_tensor_cores(const Conv2dShape&, Conv2dLayout, const float*, const float*, const float*,
                                       float*, float*, float*, Scratch&, cudaStream_t);

}  // namespace espalier::kernels::detail
