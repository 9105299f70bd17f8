// The parts of pruning by the words that the command line and recipes use for them; those that carry sizes are in
// pattern_words.h.
#pragma once
#include <map>
#include <string>

#include "kernels/require.h"
#include "pruning/pruner.h"

namespace espalier::apps {

// The meaning of a word; the command line and recipes have checked that it is known.
template <class Meaning>
Meaning meaning_of(const std::map<std::string, Meaning>& meanings, const std::string& word) {
  const auto found = meanings.find(word);
  require(found != meanings.end(), "\"", word, "\" has no meaning here");
  return found->second;
}

pruning::GroupScore group_score_of(const std::string& word);
pruning::ScoreNormalisation normalisation_of(const std::string& word);
pruning::PreparationKind preparation_of(const std::string& word);
pruning::GateGroups gate_groups_of(const std::string& word);  // of hard-concrete, by the word of --group
pruning::Scope scope_of(const std::string& word);
pruning::SparseTraining sparse_training_of(const std::string& word);

}  // namespace espalier::apps
