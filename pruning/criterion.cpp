#include "pruning/criterion.h"

#include <functional>
#include <memory>

#include "core/device/stream.h"
#include "kernels/mask.h"
#include "kernels/random.h"

namespace espalier::pruning {
namespace {

// FNV-1a: the same on every machine, unlike std::hash.
std::uint64_t hash_of(const std::string& name) {
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return hash;
}

}  // namespace

Criterion magnitude() {
  return [](const Parameter& parameter) {
    const Tensor& weight = parameter.value.value();
    Tensor scores = Tensor::like(weight);
    kernels::magnitude_scores(weight.size(), weight.data<float>(), scores.data<float>(), current_stream());
    return scores;
  };
}

Criterion random(std::uint64_t seed) {
  return [seed](const Parameter& parameter) {
    Tensor scores = Tensor::like(parameter.value.value());
    kernels::fill_uniform(scores.size(), {.seed = seed, .stream = hash_of(parameter.name)}, 0.0f, 1.0f,
                          scores.data<float>(), current_stream());
    return scores;
  };
}

}  // namespace espalier::pruning
