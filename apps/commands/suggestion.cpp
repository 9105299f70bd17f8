#include "apps/commands/suggestion.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace espalier::apps {
namespace {

std::size_t distance(const std::string& a, const std::string& b) {  // Levenshtein's
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t(0));
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, replaced}));
    }
  }
  return row[b.size()];
}

std::string listed(const std::vector<std::string>& words) {
  std::string list;
  for (const std::string& word : words) list += (list.empty() ? "" : ", ") + word;
  return list;
}

}  // namespace

std::string nearest(const std::string& word, const std::vector<std::string>& words) {
  std::string best;
  std::size_t least = word.size() / 2 + 2;
  for (const std::string& each : words) {
    if (const std::size_t apart = distance(word, each); apart < least) least = apart, best = each;
  }
  return best;
}

std::string suggestion(const std::string& word, const std::vector<std::string>& words) {
  const std::string near = nearest(word, words);
  return near.empty() ? "known are " + listed(words) : "did you mean \"" + near + "\"?";
}

}  // namespace espalier::apps
