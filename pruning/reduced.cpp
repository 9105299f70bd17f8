#include "pruning/reduced.h"

#include "core/device/stream.h"

namespace espalier::pruning {

float reduced(const Tensor& x, kernels::Reduction reduction) {
  const Tensor workspace = Tensor::empty({std::int64_t(kernels::reduce_all_workspace_bytes(x.size())) + 1}, DType::u8);
  const Tensor result = Tensor::empty({1});
  kernels::reduce_all(x.size(), reduction, x.data<float>(), result.data<float>(), workspace.raw(), current_stream());
  return result.item();
}

}  // namespace espalier::pruning
