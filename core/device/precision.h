// The number format that products (Dense, Conv2d and their gradients) read their operands in: each operand is rounded
// to it once, sums and results stay fp32, and so do weights, moments and everything that is no product.
#pragma once
#include <string_view>

#include "kernels/precision.h"

namespace espalier {

using kernels::Precision;

std::string_view to_string(Precision precision);  // "bf16"

// The choice of this thread; fp32 unless a scope says otherwise. A layer's call keeps it for its backward.
Precision current_precision();

// Throws InvalidArgument where the device has no products in that precision.
void require_supported(Precision precision);

class PrecisionScope {
 public:
  explicit PrecisionScope(Precision precision);  // throws as require_supported()
  ~PrecisionScope();
  PrecisionScope(const PrecisionScope&) = delete;
  PrecisionScope& operator=(const PrecisionScope&) = delete;

 private:
  Precision previous_;
};

}  // namespace espalier
