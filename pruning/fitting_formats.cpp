#include "pruning/fitting_formats.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <set>
#include <utility>

#include "kernels/sparse/formats.h"
#include "pruning/format.h"
#include "pruning/weights.h"

namespace espalier::pruning {
namespace {

using Sizes = std::pair<std::int64_t, std::int64_t>;  // rows, columns

struct Zeros {  // where a weight has none
  std::vector<float> values;
  std::int64_t rows, columns, taps = 1;  // of `taps` matrices, whose elements take turns

  explicit Zeros(const Tensor& weight)
      : values(weight.to_host_as<float>()),
        rows(weight.shape()[0]),
        columns(weight.size() / rows),
        channels_(weight.shape()[1]) {}

  // The same weight, seen along the channels of each tap.
  Zeros by_taps() const {
    Zeros same = *this;
    same.columns = channels_, same.taps = columns / channels_;
    return same;
  }

  bool alive(std::int64_t top, std::int64_t left, const Sizes& block, std::int64_t tap = 0) const {
    for (std::int64_t row = top; row < std::min(top + block.first, rows); ++row) {
      for (std::int64_t column = left; column < std::min(left + block.second, columns); ++column) {
        if (values[std::size_t((row * columns + column) * taps + tap)] != 0) return true;
      }
    }
    return false;
  }

  // Part of the weights in blocks that are not all zero that are none themselves.
  double filled(const Sizes& block) const {
    std::int64_t stored = 0;
    for (std::int64_t top = 0; top < rows; top += block.first) {
      for (std::int64_t left = 0; left < columns; left += block.second) {
        std::int64_t living = 0;
        for (std::int64_t tap = 0; tap < taps; ++tap) living += alive(top, left, block, tap);
        stored += living * std::min(block.first, rows - top) * std::min(block.second, columns - left);
      }
    }
    const auto zeros = std::count(values.begin(), values.end(), 0.0f);
    return stored > 0 ? double(std::int64_t(values.size()) - zeros) / double(stored) : 0.0;
  }

  // Whether no group of rows has more than four columns alive in any window.
  bool obeys(const Sizes& group) const {
    for (std::int64_t top = 0; top < rows; top += group.first) {
      for (std::int64_t window = 0; window < columns; window += group.second) {
        const std::int64_t end = std::min(window + group.second, columns);
        int living = 0;
        for (std::int64_t left = window; left < end; ++left) living += alive(top, left, {group.first, 1});
        if (living > kernels::VnmTensorView<float>::kKept) return false;
      }
    }
    return true;
  }

 private:
  std::int64_t channels_;
};

// Of each weight the first size that suits it; the usual one where none suits any.
std::set<Sizes> fitting(const std::vector<Zeros>& weights, const std::vector<Sizes>& sizes, const Sizes& usual,
                        const std::function<bool(const Zeros&, const Sizes&)>& suits) {
  std::set<Sizes> found;
  for (const Zeros& weight : weights) {
    const auto first = std::find_if(sizes.begin(), sizes.end(), [&](const Sizes& size) { return suits(weight, size); });
    if (first != sizes.end()) found.insert(*first);
  }
  if (found.empty()) found.insert(usual);
  return found;
}

}  // namespace

std::vector<Candidate> fitting_formats(Module& model) {
  std::vector<Zeros> weights;
  for (const Parameter* parameter : weights_of(model)) {
    Zeros weight(parameter->value.value());
    const bool any = std::count(weight.values.begin(), weight.values.end(), 0.0f) > 0;
    if (any) weights.push_back(std::move(weight));
  }
  const auto filled = [](const Zeros& weight, const Sizes& block) {
    return weight.rows >= block.first && weight.filled(block) >= kFilled;
  };
  const auto filled_somehow = [&](const Zeros& weight, const Sizes& block) {
    return filled(weight, block) || filled(weight.by_taps(), block);
  };
  const auto obeys = [](const Zeros& weight, const Sizes& group) { return weight.obeys(group); };
  std::vector<Candidate> found{dense(), csr()};
  for (const auto& [rows, columns] : fitting(weights, {{32, 32}, {16, 16}, {8, 8}}, {8, 8}, filled_somehow)) {
    found.push_back(block_csr(rows, columns));
  }
  found.push_back(two_four());
  for (const auto& [rows, one] : fitting(weights, {{32, 1}, {16, 1}, {8, 1}, {4, 1}}, {8, 1}, filled)) {
    found.push_back(vector_nm(rows));
  }
  for (const auto& [rows, window] :
       fitting(weights, {{128, 32}, {128, 16}, {128, 8}, {64, 32}, {64, 16}, {64, 8}}, {128, 8}, obeys)) {
    found.push_back(vnm(rows, window));
  }
  return found;
}

}  // namespace espalier::pruning
