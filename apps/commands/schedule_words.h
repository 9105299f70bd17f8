// When weights fall, by the words and parts that the command line and recipes use.
#pragma once
#include "apps/commands/pruning_options.h"
#include "pruning/schedule.h"

namespace espalier::apps {

// To `sparsity`, over `steps` updates, of which there are two at least. Throws InvalidArgument where they are too few
// for the schedule to arrive, or where no pruning comes after the weights to rewind to.
pruning::Schedule schedule_of(const PruningOptions& options, double sparsity, int steps);

}  // namespace espalier::apps
