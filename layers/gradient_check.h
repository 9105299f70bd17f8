// Backward against finite differences, for every coordinate of every input and parameter: give it any Module.
#pragma once
#include <functional>
#include <string>

#include "layers/module.h"

namespace espalier {

struct GradientCheckOptions {
  float step = 1e-2f;       // of the differences; 4-point formula, error of order step^4
  double tolerance = 2e-2;  // allowed |backward - difference| / max(1, |difference|): fp32 forward noise / step
  unsigned seed = 1;
  float low = -1, high = 1;   // range of the random input
  float avoid_kinks = 0.05f;  // inputs are moved this far away from zero, where relu has no derivative
};

struct GradientReport {
  bool passed = true;
  std::string worst;  // tensor, coordinate, received, expected
  double worst_error = 0;
  explicit operator bool() const { return passed; }
};

// The scalar checked is sum(random weights * model(x)), summed in double on the host.
GradientReport gradient_check(Module& model, Shape input, const GradientCheckOptions& options = {});
GradientReport gradient_check(Module&& model, Shape input, const GradientCheckOptions& options = {});
GradientReport gradient_check(Module& model, const Tensor& input, const GradientCheckOptions& options = {});

}  // namespace espalier
