#include "pruning/swap_search.h"

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>

namespace espalier::pruning {
namespace {

constexpr int kMostM = 32;
constexpr int kSwapsOfAnEscape = 2;

class SwapSearch {
 public:
  SwapSearch(const std::vector<ReadMatrix>& readers, std::int64_t channels, const SwapOptions& options)
      : readers_(readers), options_(options), order_(std::size_t(channels)) {
    for (const ReadMatrix& reader : readers) {  // so many channels are whole runs of m columns in every reader
      stripe_ = std::lcm(stripe_, options.m / std::gcd(std::int64_t(options.m), reader.width));
    }
    stripes_ = channels / stripe_;
    std::iota(order_.begin(), order_.end(), std::int64_t(0));
    for (std::int64_t i = 0; i < stripes_; ++i) kept_.push_back(kept_of(i));
  }

  SwapResult run() {
    SwapResult best{order_, total(), total()};
    if (stripe_ == 1 || stripes_ == 0) return best;  // a run never leaves its channel
    for (std::int64_t a = 0; a < stripes_; ++a) look_from(a);
    for (int left = options_.escapes;;) {
      while (swap_best()) ++best.swaps;
      if (total() > best.after * (1 + 1e-12)) best.after = total(), best.order = order_;
      if (left-- == 0) return best;
      for (int i = 0; i < kSwapsOfAnEscape; ++i) {
        const auto places = std::uint32_t(stripes_ * stripe_);
        swap(std::int64_t(options_.random(places)), std::int64_t(options_.random(places)));
      }
    }
  }

 private:
  struct Swap {
    double gain = 0;
    std::int64_t first = 0, second = 0;  // places
  };

  double total() const { return std::accumulate(kept_.begin(), kept_.end(), 0.0); }

  // What the n largest of each run of m sum up to, over the columns of one stripe, in all readers.
  double kept_of(std::int64_t stripe) const {
    double sum = 0;
    std::array<float, kMostM> run;
    const auto m = std::size_t(options_.m);
    for (const ReadMatrix& reader : readers_) {
      for (std::int64_t row = 0; row < reader.rows; ++row) {
        std::size_t filled = 0;
        for (std::int64_t i = 0; i < stripe_; ++i) {
          const std::int64_t channel = order_[std::size_t(stripe * stripe_ + i)];
          const float* columns = reader.channel(channel) + row * reader.width;
          for (std::int64_t column = 0; column < reader.width; ++column) {
            run[filled++] = columns[column];
            if (filled < m) continue;
            std::nth_element(run.begin(), run.begin() + options_.n - 1, run.begin() + options_.m, std::greater<>());
            sum += std::accumulate(run.begin(), run.begin() + options_.n, 0.0);
            filled = 0;
          }
        }
      }
    }
    return sum;
  }

  double gain_of(std::int64_t a, std::int64_t b, std::int64_t first, std::int64_t second) {
    std::swap(order_[std::size_t(first)], order_[std::size_t(second)]);
    double gain = kept_of(a) - kept_[std::size_t(a)];
    if (b != a) gain += kept_of(b) - kept_[std::size_t(b)];
    std::swap(order_[std::size_t(first)], order_[std::size_t(second)]);
    return gain;
  }

  Swap best_between(std::int64_t a, std::int64_t b) {
    Swap best;
    for (std::int64_t i = a * stripe_; i < (a + 1) * stripe_; ++i) {
      for (std::int64_t j = std::max(i + 1, b * stripe_); j < (b + 1) * stripe_; ++j) {
        const double gain = gain_of(a, b, i, j);
        if (gain > best.gain) best = {gain, i, j};
      }
    }
    return best;
  }

  std::int64_t last_in_sight(std::int64_t a) const { return std::min(stripes_, a + options_.in_sight); }
  Swap& swap_between(std::int64_t a, std::int64_t b) { return swaps_[std::size_t(a * options_.in_sight + b - a)]; }

  void look_from(std::int64_t a) {
    swaps_.resize(std::size_t(stripes_ * options_.in_sight));
    for (std::int64_t b = a; b < last_in_sight(a); ++b) swap_between(a, b) = best_between(a, b);
  }

  void swap(std::int64_t first, std::int64_t second) {
    std::swap(order_[std::size_t(first)], order_[std::size_t(second)]);
    for (const std::int64_t changed : {first / stripe_, second / stripe_}) {
      kept_[std::size_t(changed)] = kept_of(changed);
    }
    for (const std::int64_t changed : {first / stripe_, second / stripe_}) {
      look_from(changed);
      for (std::int64_t a = std::max<std::int64_t>(0, changed - options_.in_sight + 1); a < changed; ++a) {
        swap_between(a, changed) = best_between(a, changed);
      }
    }
  }

  bool swap_best() {
    const auto best =
        std::max_element(swaps_.begin(), swaps_.end(), [](const Swap& a, const Swap& b) { return a.gain < b.gain; });
    if (best->gain <= 1e-9 * total()) return false;
    swap(best->first, best->second);
    return true;
  }

  const std::vector<ReadMatrix>& readers_;
  const SwapOptions& options_;
  std::vector<std::int64_t> order_;
  std::int64_t stripe_ = 1, stripes_ = 0;
  std::vector<double> kept_;  // of each stripe
  std::vector<Swap> swaps_;   // the best between each pair of stripes in sight
};

}  // namespace

SwapResult best_order(const std::vector<ReadMatrix>& readers, std::int64_t channels, const SwapOptions& options) {
  return SwapSearch(readers, channels, options).run();
}

}  // namespace espalier::pruning
