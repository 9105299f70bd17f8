// A loop that is unrolled in both builds: nvcc and g++ spell the pragma differently, and g++ ignores it in lambdas.
#pragma once
#include <utility>

#include "kernels/simt/simt.h"

namespace espalier::simt {

// body(0), body(1) ... body(kCount - 1), with the index a constant. constexpr: for kernels and launchers alike.
template <int kCount, class Body>
constexpr void unrolled(Body body) {
  [&]<int... kIndex>(std::integer_sequence<int, kIndex...>) { (body(std::integral_constant<int, kIndex>()), ...); }
  (std::make_integer_sequence<int, kCount>());
}

}  // namespace espalier::simt
