// A table of a TOML file, read key by key: every key that is read is known, and finish() refuses the others, with the
// known key that comes nearest. Values of the wrong type or outside their range are refused by name.
#pragma once
#include <toml++/toml.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace espalier::apps {

class TomlSection {
 public:
  // `path` is for messages: "seed-20pct.toml: [prune]". The table must outlive it.
  TomlSection(const toml::table& table, std::string path) : table_(&table), path_(std::move(path)) {}

  // Each leaves the value alone where the key is missing; true if it was there.
  bool read(const char* key, std::string& value);
  bool read(const char* key, double& value, double low, double high);
  bool read(const char* key, float& value, double low, double high);
  bool read(const char* key, std::int64_t& value, std::int64_t low);
  bool read(const char* key, bool& value);
  bool read(const char* key, std::vector<std::string>& value);
  bool read(const char* key, std::map<std::string, double>& value);  // a table of numbers
  bool read_word(const char* key, std::string& value, const std::vector<std::string>& words);
  // `fault`: what is wrong with a word, empty where nothing is.
  bool read_word(const char* key, std::string& value, std::string (*fault)(const std::string& word));
  TomlSection section(const char* key);  // empty where the key is missing
  bool has(const char* key) const { return table_->contains(key); }
  void finish() const;  // throws InvalidArgument on a key that was not read

 private:
  const toml::node* find(const char* key);
  template <class T>
  T number(const toml::node& node, const char* key, T low, T high) const;
  const toml::table* table_;
  std::string path_;
  std::vector<std::string> known_;
};

}  // namespace espalier::apps
