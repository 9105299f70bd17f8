// The random numbers of one parameter: a stream that depends on its name, so that a layer draws the same ones whatever
// other layers there are.
#pragma once
#include <cstdint>
#include <string_view>

#include "kernels/fnv.h"
#include "kernels/random_stream.h"

namespace espalier::pruning {

// `turn` tells draws of the same parameter apart: a training step.
inline kernels::RandomStream random_stream(std::uint64_t seed, std::string_view name, std::uint64_t turn = 0) {
  return {.seed = seed, .stream = kernels::fnv1a(name) + turn};
}

}  // namespace espalier::pruning
