// Dense against pruned: compiles a plan of each kind per batch size and times both on the same images, in
// pairs (core/device/timer.h): the speed-up is the median over them.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/tensor/shape.h"
#include "layers/module.h"

namespace espalier::apps {

struct Measurement {
  nlohmann::json bench = nlohmann::json::array();  // {batch, dense_us, pruned_us, speedup, timing}
  nlohmann::json plan = nlohmann::json::array();   // {batch, layer, format, implementation, us, reason, ...}
  std::string times, choices;                      // both as tables for people
};

// image: [C, H, W]. The images are random: no time depends on their values.
Measurement measure(Module& model, const Shape& image, const std::vector<std::int64_t>& batches);

}  // namespace espalier::apps
