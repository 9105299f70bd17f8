// The rule that a checkpoint of a pruned run keeps: the run is resumed under the same rule only.
#pragma once
#include <filesystem>
#include <string>

#include "apps/commands/output.h"
#include "apps/commands/pruning_options.h"

namespace espalier::apps {

std::string in_words(const PruningOptions& options);  // JSON

// Rates and sparsity, or the widths of channels, that prune --auto, --latency-ms or --speedup found for the run of this
// checkpoint: resumed, it goes on to the same, whatever a second search would find. Throws CheckpointError where the
// file tells of none.
void take_found(const std::filesystem::path& checkpoint, PruningOptions& asked, const Output& output);

}  // namespace espalier::apps
