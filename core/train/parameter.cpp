#include "core/train/parameter.h"

#include "core/device/stream.h"
#include "kernels/accumulate.h"
#include "kernels/require.h"

namespace espalier {

std::int64_t Mask::kept() const {
  std::int64_t kept = 0;
  for (const std::uint8_t keep_one : keep.to_host_as<std::uint8_t>()) kept += keep_one;
  return kept;
}

Parameter::Parameter(std::string name_, Tensor initial)
    : name(std::move(name_)), value(std::move(initial), Gradient::required) {}

void Parameter::set_mask(Mask mask) {
  require(mask.keep.shape() == value.shape() && mask.keep.dtype() == DType::u8, name, ": a mask of shape ",
          mask.keep.shape().to_string(), " (", std::string(to_string(mask.keep.dtype())), ") was given for a weight ",
          value.shape().to_string(), "; it needs the same shape and type u8");
  mask_ = std::move(mask);
  const Tensor& weight = value.value();
  kernels::zero_masked(weight.size(), mask_->keep.data<std::uint8_t>(), weight.data<float>(), current_stream());
}

}  // namespace espalier
