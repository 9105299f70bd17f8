// A table for people: figures to the right, words (the first column and those named) to the left, a rule below the
// head.
#pragma once
#include <string>
#include <vector>

namespace espalier::apps {

class Table {
 public:
  explicit Table(std::vector<std::string> header, std::vector<std::size_t> words = {});
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }  // as many cells as the header
  std::string to_string() const;

 private:
  std::vector<std::vector<std::string>> rows_;
  std::vector<bool> left_;
};

}  // namespace espalier::apps
