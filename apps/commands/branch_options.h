// --pattern branch: whole residual branches fall before training on, and the network is shallower from then on.
#pragma once
#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "apps/commands/output.h"
#include "apps/commands/pruning_options.h"
#include "core/data/image_data.h"
#include "layers/module.h"

namespace espalier::apps {

// Where `asked` wants branches to fall, replaces the model by the shallower one, tells which fell, and asks for nothing
// more; else does nothing. Null JSON: nothing was done.
nlohmann::json fell_branches(std::unique_ptr<Module>& model, const data::ImageData& images, std::uint64_t seed,
                             PruningOptions& asked, const Output& output);

}  // namespace espalier::apps
