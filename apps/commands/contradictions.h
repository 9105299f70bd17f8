// Requests of pruning that cannot be met as a whole, whatever the weights: refused before anything is trained.
#pragma once
#include <cstdint>

#include "apps/commands/pruning_options.h"
#include "layers/module.h"
#include "pruning/pruner.h"

namespace espalier::apps {

// A sparsity that floors, ceilings and sparsities of layers of their own do not leave. Throws InvalidArgument, as all
// here.
void require_agreement(const PruningOptions& asked, Module& model);

// A fraction of channels, multiply-adds and so on that floors of groups do not let go; `made` has the pattern.
void require_reachable(const pruning::PrunerOptions& made, double sparsity, const PruningOptions& asked, Module& model,
                       const Shape& input);

// Connections that would never be exchanged within so many steps.
void require_turns(const PruningOptions& asked, std::int64_t end);

}  // namespace espalier::apps
