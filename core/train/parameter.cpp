#include "core/train/parameter.h"

#include "core/device/stream.h"
#include "kernels/elementwise.h"
#include "kernels/mask.h"
#include "kernels/require.h"

namespace espalier {

std::int64_t Mask::kept() const {
  const Tensor count = Tensor::empty({1}, DType::i64);
  const kernels::MaskedTensor masked{.keep = keep.data<std::uint8_t>(), .count = keep.size()};
  kernels::count_kept({&masked, 1}, count.data<std::int64_t>(), current_stream());
  return count.to_host_as<std::int64_t>().front();
}

Parameter::Parameter(std::string name_, Tensor initial)
    : name(std::move(name_)), value(std::move(initial), Gradient::required) {}

void Parameter::set_mask(Mask mask) {
  require(mask.keep.shape() == value.shape() && mask.keep.dtype() == DType::u8, name, ": a mask of shape ",
          mask.keep.shape().to_string(), " (", std::string(to_string(mask.keep.dtype())), ") was given for a weight ",
          value.shape().to_string(), "; it needs the same shape and type u8");
  mask_ = std::move(mask);
  train_all();
  const Tensor& weight = value.value();
  const auto address = weight.data<float>();
  kernels::apply_keep(weight.size(), mask_->keep.data<std::uint8_t>(), address, address, current_stream());
  keep_bits_ = Tensor::empty({kernels::mask_words(weight.size())}, DType::u32);
  kernels::pack_keep(weight.size(), mask_->keep.data<std::uint8_t>(), keep_bits_.data<std::uint32_t>(),
                     current_stream());
}

void Parameter::clear_mask() {
  mask_.reset();
  keep_bits_ = Tensor();
  train_all();
}

void Parameter::train_kept(SampledBy by) {
  require(mask_.has_value(), name, ": only of a weight with a mask can the kept ones be trained alone");
  kept_ = std::make_shared<KeptWeights>(mask_->keep, kept_groups);
  kept_->sampled_by = by;
}

void Parameter::set_random(std::shared_ptr<const RandomWeight> random) {
  require(!random || can_be_random, name, ": its layer cannot compute with a random weight; leave it out by its name");
  random_ = std::move(random);
}

void Parameter::clear_gradient() {
  value.clear_gradient();
  if (kept_) kept_->values.clear_gradient();
}

}  // namespace espalier
