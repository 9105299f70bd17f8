// Stochastic gradient descent with momentum (heavy ball or Nesterov) and weight decay, as in torch.optim.SGD.
#pragma once
#include "core/train/optimizer.h"
#include "kernels/optimizer.h"

namespace espalier {

struct SgdOptions {
  float learning_rate = 0.01f, momentum = 0.0f, weight_decay = 0.0f;
  bool nesterov = false;
};

class Sgd final : public Optimizer {
 public:
  explicit Sgd(std::vector<Parameter*> parameters, const SgdOptions& options = {});
  std::string_view kind() const override { return "sgd"; }
  void step() override;
  std::vector<Buffer*> state() override;
  std::int64_t steps() const override { return device_.read().step; }
  void set_steps(std::int64_t steps) override;

 protected:
  float* device_learning_rate() const override { return &device_.get()->learning_rate; }

 private:
  DeviceState<kernels::SgdState> device_;
  std::vector<Buffer> velocities_;  // none without momentum
};

}  // namespace espalier
