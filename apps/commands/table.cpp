#include "apps/commands/table.h"

#include <fmt/core.h>

#include <algorithm>

namespace espalier::apps {
namespace {

// UTF-8 continuation bytes take no column: "µs" is two wide.
std::size_t columns(const std::string& text) {
  return std::size_t(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

Table::Table(std::vector<std::string> header, std::vector<std::size_t> words) : rows_{std::move(header)} {
  left_.resize(rows_[0].size());
  left_[0] = true;
  for (std::size_t column : words) left_.at(column) = true;
}

std::vector<std::size_t> Table::widths() const {
  std::vector<std::size_t> widths(rows_[0].size());
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], columns(row[i]));
  }
  return widths;
}

std::string Table::cell(std::size_t row, std::size_t column, std::size_t width) const {
  const std::string& text = rows_[row][column];
  const std::string gap(width - columns(text), ' ');
  return left_[column] ? text + gap : gap + text;
}

std::string Table::to_string() const {
  const std::vector<std::size_t> width = widths();
  std::string text;
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    std::string line, rule;
    for (std::size_t i = 0; i < rows_[r].size(); ++i) {
      line += (i == 0 ? "" : "  ") + cell(r, i, width[i]);
      rule += (i == 0 ? "" : "  ") + std::string(width[i], '-');
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    if (r == 0) text += rule + "\n";
  }
  return text;
}

std::string Table::to_markdown() const {
  const std::vector<std::size_t> width = widths();
  std::string text;
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    std::string rule = "|";
    text += "|";
    for (std::size_t i = 0; i < rows_[r].size(); ++i) {
      text += " " + cell(r, i, width[i]) + " |";
      rule += std::string(width[i] + 1, '-') + (left_[i] ? "-|" : ":|");
    }
    text += "\n";
    if (r == 0) text += rule + "\n";
  }
  return text;
}

}  // namespace espalier::apps
