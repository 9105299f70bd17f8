// Why an implementation was chosen or was not, in words that name the cause: launch-bound, too narrow, below
// break-even.
#pragma once
#include <optional>
#include <span>
#include <string>

#include "pruning/selection.h"

namespace espalier::pruning {

inline constexpr double kNoise = 0.02;           // of a dense time: a sparse implementation must be better by more
inline constexpr double kLaunchBound = 1.5;      // a time up to so many launches' floors is mostly launching
inline constexpr std::int64_t kNarrowRows = 32;  // a weight with fewer leaves lanes of a warp or tile without a row

// The fastest; a sparse one only if it beats the fastest dense one by more than noise.
std::optional<std::size_t> fastest(std::span<const MeasuredImplementation> candidates);
std::optional<std::size_t> fastest_dense(std::span<const MeasuredImplementation> candidates);

// From which sparsity on a sparse implementation of `sparse_us` would beat dense, if what it takes beyond the launch is
// proportional to what is kept; none: at no sparsity.
std::optional<double> break_even(double sparse_us, double dense_us, double sparsity, double floor_us);

std::string why(const PlanStep& step, double floor_us);
std::string why_not(const PlanStep& step, std::size_t loser, double floor_us);

}  // namespace espalier::pruning
