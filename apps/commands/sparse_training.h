// What a run with --sparse-training tells of its layers.
#pragma once
#include <nlohmann/json_fwd.hpp>

#include "apps/commands/output.h"
#include "pruning/pruner.h"

namespace espalier::apps {

// Says which weights train their kept weights alone, and of the others why not; null where that was not asked for.
nlohmann::json tell_sparse_training(const pruning::Pruner& pruner, const Output& output);

}  // namespace espalier::apps
