// A table for people: figures to the right, words (the first column and those named) to the left, a rule below the
// head; as plain text, or as Markdown that is as easy to read.
#pragma once
#include <string>
#include <vector>

namespace espalier::apps {

class Table {
 public:
  explicit Table(std::vector<std::string> header, std::vector<std::size_t> words = {});
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }  // as many cells as the header
  std::string to_string() const;
  std::string to_markdown() const;

 private:
  std::vector<std::size_t> widths() const;
  std::string cell(std::size_t row, std::size_t column, std::size_t width) const;  // padded
  std::vector<std::vector<std::string>> rows_;
  std::vector<bool> left_;
};

}  // namespace espalier::apps
