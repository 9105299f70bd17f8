// What the tests of all convolutions share: a shape in words for a failing check, and how exact a sum must be.
#pragma once
#include <cmath>
#include <string>

#include "kernels/shapes.h"

namespace espalier::test {

inline std::string text(const kernels::Conv2dShape& s) {
  std::string line;
  for (const kernels::index_t size :
       {s.batch, s.channels, s.height, s.width, s.filters, s.kernel_height, s.kernel_width}) {
    line += std::to_string(size) + " ";
  }
  return line + "stride " + std::to_string(s.stride) + " padding " + std::to_string(s.padding) + " dilation " +
         std::to_string(s.dilation) + " groups " + std::to_string(s.groups);
}

// Rounding errors of a sum of k random products grow like sqrt(k); norm-wise over the whole result.
inline double tolerance(kernels::index_t depth) { return 1e-6 * std::sqrt(double(depth)) + 2e-7; }

}  // namespace espalier::test
