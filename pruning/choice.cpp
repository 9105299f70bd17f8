#include "pruning/choice.h"

#include "core/device/stream.h"
#include "kernels/pattern.h"

namespace espalier::pruning {

void keep_highest(const std::vector<kernels::ScoredTensor>& tensors, std::int64_t kept) {
  const auto bytes = std::int64_t(kernels::keep_highest_workspace_bytes(tensors));
  const Tensor workspace = Tensor::empty({bytes + 1}, DType::u8);
  kernels::keep_highest(tensors, kept, workspace.raw(), current_stream());
}

Mask highest(const Tensor& scores, std::int64_t kept) {
  Mask mask{Tensor::empty(scores.shape(), DType::u8)};
  keep_highest({{scores.data<float>(), mask.keep.data<std::uint8_t>(), scores.size()}}, kept);
  return mask;
}

std::vector<std::int64_t> count_kept(const std::vector<kernels::MaskedTensor>& masks) {
  if (masks.empty()) return {};
  const Tensor counts = Tensor::empty({std::int64_t(masks.size())}, DType::i64);
  kernels::count_kept(masks, counts.data<std::int64_t>(), current_stream());
  return counts.to_host_as<std::int64_t>();
}

std::vector<std::int64_t> count_kept(std::span<const Mask> masks) {
  std::vector<kernels::MaskedTensor> masked;
  for (const Mask& mask : masks) masked.push_back({mask.keep.data<std::uint8_t>(), mask.keep.size()});
  return count_kept(masked);
}

void bury_pruned(const Parameter& parameter, const Tensor& scores) {
  if (!parameter.mask()) return;
  kernels::bury_pruned(scores.size(), parameter.mask()->keep.data<std::uint8_t>(), scores.data<float>(),
                       current_stream());
}

}  // namespace espalier::pruning
