#include "core/train/compressed/quantise.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

namespace espalier::compressed {
namespace {

constexpr int kMostIterations = 300;  // on sorted values an iteration costs one pass; most layers settle within 100
constexpr int kMostSplits = 16;       // each may double the centroids

// Where each centroid's share of the sorted values begins: halfway between it and its neighbour.
std::vector<std::size_t> borders(const std::vector<float>& sorted, const std::vector<double>& centroids) {
  std::vector<std::size_t> begins(centroids.size() + 1, sorted.size());
  begins[0] = 0;
  for (std::size_t c = 1; c < centroids.size(); ++c) {
    const double middle = 0.5 * (centroids[c - 1] + centroids[c]);
    begins[c] = std::size_t(std::lower_bound(sorted.begin(), sorted.end(), middle) - sorted.begin());
  }
  return begins;
}

// Running sums over the sorted values.
struct Sums {
  explicit Sums(const std::vector<float>& sorted) : values(sorted.size() + 1), squares(sorted.size() + 1) {
    for (std::size_t i = 0; i < sorted.size(); ++i) {
      values[i + 1] = values[i] + double(sorted[i]);
      squares[i + 1] = squares[i] + double(sorted[i]) * double(sorted[i]);
    }
  }
  double mean(std::size_t begin, std::size_t end) const { return (values[end] - values[begin]) / double(end - begin); }
  double square_error(std::size_t begin, std::size_t end) const {
    return squares[end] - squares[begin] - double(end - begin) * mean(begin, end) * mean(begin, end);
  }
  std::vector<double> values, squares;
};

// Lloyd's iterations: centroids become the means of their shares until none moves; those without one are dropped.
std::vector<std::size_t> settle(const std::vector<float>& sorted, const Sums& sums, std::vector<double>& centroids) {
  std::vector<std::size_t> begins = borders(sorted, centroids);
  for (int i = 0; i < kMostIterations; ++i) {
    std::vector<double> means;
    for (std::size_t c = 0; c < centroids.size(); ++c) {
      if (begins[c] != begins[c + 1]) means.push_back(sums.mean(begins[c], begins[c + 1]));
    }
    if (means == centroids) break;
    centroids = std::move(means);
    begins = borders(sorted, centroids);
  }
  return begins;
}

// The centroids that were dropped come back where the error is largest: a share is split a deviation left and right of
// its mean. Pruning leaves a gap around zero, where the first, even spread loses many.
void split_widest(const std::vector<float>& sorted, const Sums& sums, const std::vector<std::size_t>& begins,
                  std::size_t more, std::vector<double>& centroids) {
  std::vector<std::pair<double, std::size_t>> errors;
  for (std::size_t c = 0; c < centroids.size(); ++c) {
    if (begins[c] == begins[c + 1] || sorted[begins[c]] == sorted[begins[c + 1] - 1]) continue;
    errors.emplace_back(sums.square_error(begins[c], begins[c + 1]), c);
  }
  std::sort(errors.rbegin(), errors.rend());
  errors.resize(std::min(errors.size(), more));
  for (const auto& [error, c] : errors) {
    const double deviation = std::sqrt(std::max(error, 0.0) / double(begins[c + 1] - begins[c]));
    centroids.push_back(centroids[c] + deviation);
    centroids[c] -= deviation;
  }
  std::sort(centroids.begin(), centroids.end());
}

// More different values than centroids.
std::vector<float> clustered(const std::vector<float>& sorted, std::size_t count) {
  const Sums sums(sorted);
  const double low = sorted.front(), step = (double(sorted.back()) - low) / double(count - 1);
  std::vector<double> centroids(count);
  for (std::size_t c = 0; c < count; ++c) centroids[c] = low + double(c) * step;
  std::vector<std::size_t> begins = settle(sorted, sums, centroids);
  for (int i = 0; i < kMostSplits && centroids.size() < count; ++i) {
    split_widest(sorted, sums, begins, count - centroids.size(), centroids);
    begins = settle(sorted, sums, centroids);
  }
  return std::vector<float>(centroids.begin(), centroids.end());
}

std::uint32_t nearest(const std::vector<float>& codebook, float value) {
  const auto above = std::lower_bound(codebook.begin(), codebook.end(), value);
  if (above == codebook.begin()) return 0;
  const bool lower = above == codebook.end() || double(value) - double(above[-1]) < double(*above) - double(value);
  return std::uint32_t(above - codebook.begin() - lower);
}

}  // namespace

SharedValues kmeans(std::span<const float> values, int bits) {
  const std::size_t count = std::size_t(1) << bits;
  std::vector<float> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  SharedValues shared;
  std::unique_copy(sorted.begin(), sorted.end(), std::back_inserter(shared.codebook));
  if (shared.codebook.size() > count) shared.codebook = clustered(sorted, count);
  shared.codes.reserve(values.size());
  for (const float value : values) shared.codes.push_back(nearest(shared.codebook, value));
  return shared;
}

ScaledValues scaled_to_int8(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) largest = std::max(largest, std::fabs(value));
  ScaledValues scaled{.scale = largest / float(ScaledValues::kZero), .codes = {}};
  scaled.codes.reserve(values.size());
  for (const float value : values) {
    const float multiple = scaled.scale > 0 ? std::clamp(std::round(value / scaled.scale), -127.0f, 127.0f) : 0.0f;
    scaled.codes.push_back(std::uint32_t(int(ScaledValues::kZero) + int(multiple)));
  }
  return scaled;
}

}  // namespace espalier::compressed
