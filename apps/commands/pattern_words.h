// Patterns and groups by their words. Some carry sizes: "2:4" is n_of_m(2, 4), "block-8x4" block(8, 4).
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "apps/commands/pruning_options.h"
#include "pruning/channel_permutation.h"
#include "pruning/lowering.h"
#include "pruning/pattern.h"

namespace espalier::apps {

// As --help lists them, with letters for sizes: "N:M", "block-RxC".
const std::vector<std::string>& patterns();
const std::vector<std::string>& groups();

// What is wrong with a word; empty where nothing is.
std::string fault_of_pattern(const std::string& word);
std::string fault_of_rated_pattern(const std::string& word);  // one that leaves the sparsity open
std::string fault_of_group(const std::string& word);

// Throw InvalidArgument where the word means no pattern of weights, or no group.
pruning::Pattern pattern_of(const std::string& word);
pruning::Grouping grouping_of(const std::string& word);

// The sparsity that a pattern sets itself, whatever is asked for: 0.5 of "2:4".
std::optional<double> own_sparsity(const std::string& pattern);

// With the sparsity that the pattern sets itself as the target, where it does. Throws InvalidArgument where another was
// asked for.
PruningOptions settled(PruningOptions options);

// What a layer of that pattern may be computed in, where its mask is still to be found: formats of the pattern's sizes.
std::vector<pruning::Candidate> formats_for(const std::string& pattern);

// For channels to be reordered before "N:M"; nothing of other patterns.
std::optional<pruning::PermutationOptions> permutation_for(const std::string& pattern);

}  // namespace espalier::apps
