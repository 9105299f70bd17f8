// An option whose words are names of an enumeration's values: --precision bf16.
#pragma once
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace espalier::apps {

template <class Value>
using NamedValues = std::vector<std::pair<std::string, Value>>;

// Help lists the names, and so does the error about any other word (CLI11's own transformer lists numbers, too).
template <class Value>
CLI::Option* take_names(CLI::Option* option, const NamedValues<Value>& names) {
  std::vector<std::string> words;
  for (const auto& [name, value] : names) words.push_back(name);
  const std::string all = fmt::format("{{{}}}", fmt::join(words, ","));
  const auto to_value = [names, all](std::string& word) {
    const auto found = std::ranges::find(names, word, &std::pair<std::string, Value>::first);
    if (found == names.end()) return fmt::format("{} not in {}", word, all);
    word = std::to_string(static_cast<int>(found->second));
    return std::string();
  };
  return option->type_name("TEXT")->transform(CLI::Validator(to_value, all));
}

}  // namespace espalier::apps
