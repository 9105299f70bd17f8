// Layer normalisation over the last axes of x: each sample by its own mean and variance, the same in training and
// after.
#pragma once
#include "layers/module.h"

namespace espalier {

// x [..., *normalised]; y = gamma * (x - mean) / sqrt(variance + epsilon) + beta, gamma and beta of shape `normalised`.
class LayerNorm final : public Module {
 public:
  explicit LayerNorm(Shape normalised, float epsilon = 1e-5f);
  Variable operator()(const Variable& x) override;
  std::string_view kind() const override { return "layer_norm"; }
  Description describe() const override;

  Parameter gamma, beta;

 protected:
  std::vector<Parameter*> own_parameters() override { return {&gamma, &beta}; }

 private:
  float epsilon_;
};

}  // namespace espalier
