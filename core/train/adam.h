// Adam (Kingma and Ba 2014, arXiv 1412.6980) and AdamW, its variant that decays weights beside the gradient (Loshchilov
// and Hutter 2017, arXiv 1711.05101), as in torch.optim.
#pragma once
#include "core/train/optimizer.h"
#include "kernels/optimizer.h"

namespace espalier {

struct AdamOptions {
  float learning_rate = 1e-3f;
  double beta1 = 0.9, beta2 = 0.999;
  float epsilon = 1e-8f, weight_decay = 0.0f;
};

class Adam : public DeviceOptimizer<kernels::AdamState> {
 public:
  explicit Adam(std::vector<Parameter*> parameters, const AdamOptions& options = {});
  std::string_view kind() const override { return "adam"; }
  void step() override;
  std::vector<Buffer*> state() override;

 protected:
  Adam(std::vector<Parameter*> parameters, const AdamOptions& options, kernels::WeightDecay decay);
  void forget_derived(kernels::AdamState& state) const override { state.bias_correction1 = 0.0f; }

 private:
  std::vector<Buffer> first_moments_, second_moments_;
};

class AdamW final : public Adam {
 public:
  explicit AdamW(std::vector<Parameter*> parameters, const AdamOptions& options)
      : Adam(std::move(parameters), options, kernels::WeightDecay::decoupled) {}
  std::string_view kind() const override { return "adamw"; }
};

}  // namespace espalier
