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

std::string Table::to_string() const {
  std::vector<std::size_t> widths(rows_[0].size());
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], columns(row[i]));
  }
  std::string text;
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    std::string line, rule;
    for (std::size_t i = 0; i < rows_[r].size(); ++i) {
      const std::string gap(widths[i] - columns(rows_[r][i]), ' ');
      line += (i == 0 ? "" : "  ") + (left_[i] ? rows_[r][i] + gap : gap + rows_[r][i]);
      rule += (i == 0 ? "" : "  ") + std::string(widths[i], '-');
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    if (r == 0) text += rule + "\n";
  }
  return text;
}

}  // namespace espalier::apps
