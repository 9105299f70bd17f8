// A model in words and back: what a checkpoint needs to rebuild a network, a shrunk one too. The JSON of a layer is its
// kind and attributes side by side, with the inner layers under "children":
//   {"kind": "sequential", "children": [{"kind": "dense", "in_features": 784, "out_features": 10}, ...]}
// A new layer is one line in the table of architecture.cpp.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "layers/module.h"

namespace espalier {

std::string to_json(const Description& description);
// Throws InvalidArgument naming the layer and the attribute that is wrong.
Description description_from_json(std::string_view text);

// The module described, freshly initialised from `seed`. Throws InvalidArgument on an unknown kind or a missing,
// superfluous or mistyped attribute.
std::unique_ptr<Module> build(const Description& description, std::uint64_t seed = 1);

// Every layer of the description by the name that it has in the model: "residual_1.sequential_1.conv2d_1". The whole
// is called `name`.
std::map<std::string, Description*> layers_by_name(Description& description, const std::string& name = "");

}  // namespace espalier
