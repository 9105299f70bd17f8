// The random numbers of one parameter: a stream that depends on its name, so that a layer draws the same ones whatever
// other layers there are.
#pragma once
#include <cstdint>
#include <string_view>

#include "kernels/random_stream.h"

namespace espalier::pruning {

// `turn` tells draws of the same parameter apart: a training step. FNV-1a: the same on every machine, unlike std::hash.
inline kernels::RandomStream random_stream(std::uint64_t seed, std::string_view name, std::uint64_t turn = 0) {
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return {.seed = seed, .stream = hash + turn};
}

}  // namespace espalier::pruning
