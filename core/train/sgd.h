// Stochastic gradient descent with momentum (heavy ball or Nesterov) and weight decay, as in torch.optim.SGD.
#pragma once
#include "core/train/optimizer.h"
#include "kernels/optimizer.h"

namespace espalier {

struct SgdOptions {
  float learning_rate = 0.01f, momentum = 0.0f, weight_decay = 0.0f;
  bool nesterov = false;
};

class Sgd final : public DeviceOptimizer<kernels::SgdState> {
 public:
  explicit Sgd(std::vector<Parameter*> parameters, const SgdOptions& options = {});
  std::string_view kind() const override { return "sgd"; }
  void step() override;
  std::vector<Buffer*> state() override;

 private:
  std::vector<Buffer> velocities_;  // none without momentum
};

}  // namespace espalier
