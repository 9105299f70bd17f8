// Which sequence of random numbers a launcher draws from; philox.h makes them.
#pragma once
#include <cstdint>

namespace espalier::kernels {

// Two independent names: what the user seeds, and which sequence of that seed (a step, a parameter).
struct RandomStream {
  std::uint64_t seed = 0, stream = 0;
};

}  // namespace espalier::kernels
