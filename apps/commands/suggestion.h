// What a misspelt word may have meant.
#pragma once
#include <string>
#include <vector>

namespace espalier::apps {

// The word that takes the fewest insertions, deletions and replacements; "" where none is near.
std::string nearest(const std::string& word, const std::vector<std::string>& words);

// The end of a message: the nearest word, or all that are known.
std::string suggestion(const std::string& word, const std::vector<std::string>& words);

}  // namespace espalier::apps
