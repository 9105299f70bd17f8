#include "apps/commands/toml_section.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "apps/commands/suggestion.h"
#include "kernels/require.h"

namespace espalier::apps {
namespace {

const toml::table& empty_table() {
  static const toml::table table;
  return table;
}

}  // namespace

const toml::node* TomlSection::find(const char* key) {
  known_.push_back(key);
  return table_->get(key);
}

template <class T>
T TomlSection::number(const toml::node& node, const char* key, T low, T high) const {
  const auto value = node.value<T>();
  const bool whole = std::is_floating_point_v<T> || node.is_integer();
  require(value && whole && node.is_number(), path_, " ", key, ": needs a ", whole ? "number" : "whole number");
  require(*value >= low && *value <= high, path_, " ", key, ": is ", *value, "; it must be at least ", low,
          high < std::numeric_limits<T>::max() ? " and at most " + std::to_string(high) : std::string());
  return *value;
}

bool TomlSection::read(const char* key, std::string& value) {
  const toml::node* const node = find(key);
  if (!node) return false;
  require(node->is_string(), path_, " ", key, ": needs a text in quotes");
  value = *node->value<std::string>();
  return true;
}

bool TomlSection::read(const char* key, double& value, double low, double high) {
  const toml::node* const node = find(key);
  if (node) value = number<double>(*node, key, low, high);
  return node != nullptr;
}

bool TomlSection::read(const char* key, float& value, double low, double high) {
  double read_value = double(value);
  const bool there = read(key, read_value, low, high);
  if (there) value = float(read_value);
  return there;
}

bool TomlSection::read(const char* key, std::int64_t& value, std::int64_t low) {
  const toml::node* const node = find(key);
  if (node) value = number<std::int64_t>(*node, key, low, std::numeric_limits<std::int64_t>::max());
  return node != nullptr;
}

bool TomlSection::read(const char* key, bool& value) {
  const toml::node* const node = find(key);
  if (!node) return false;
  require(node->is_boolean(), path_, " ", key, ": needs true or false");
  value = *node->value<bool>();
  return true;
}

bool TomlSection::read(const char* key, std::vector<std::string>& value) {
  const toml::node* const node = find(key);
  if (!node) return false;
  require(node->is_array(), path_, " ", key, ": needs a list of texts");
  value.clear();
  for (const toml::node& each : *node->as_array()) {
    require(each.is_string(), path_, " ", key, ": needs a list of texts");
    value.push_back(*each.value<std::string>());
  }
  return true;
}

bool TomlSection::read(const char* key, std::map<std::string, double>& value) {
  const toml::node* const node = find(key);
  if (!node) return false;
  require(node->is_table(), path_, " ", key, ": needs a table of numbers");
  for (const auto& [name, each] : *node->as_table()) {
    value[std::string(name.str())] = number<double>(each, std::string(name.str()).c_str(), 0.0, 1.0);
  }
  return true;
}

bool TomlSection::read_word(const char* key, std::string& value, const std::vector<std::string>& words) {
  if (!read(key, value)) return false;
  const bool known = std::find(words.begin(), words.end(), value) != words.end();
  require(known, path_, " ", key, ": \"", value, "\" is unknown; ", known ? "" : suggestion(value, words));
  return true;
}

bool TomlSection::read_word(const char* key, std::string& value, std::string (*fault)(const std::string& word)) {
  if (!read(key, value)) return false;
  const std::string wrong = fault(value);
  require(wrong.empty(), path_, " ", key, ": ", wrong);
  return true;
}

TomlSection TomlSection::section(const char* key) {
  const toml::node* const node = find(key);
  require(!node || node->is_table(), path_, " ", key, ": needs a table");
  return {node ? *node->as_table() : empty_table(), path_ + " [" + key + "]"};
}

void TomlSection::finish() const {
  for (const auto& [key, node] : *table_) {
    const std::string name(key.str());
    const bool known = std::find(known_.begin(), known_.end(), name) != known_.end();
    require(known, path_, ": the key \"", name, "\" is unknown; ", known ? "" : suggestion(name, known_));
  }
}

}  // namespace espalier::apps
