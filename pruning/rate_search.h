// How much each layer has to lose so that the network costs no more than a budget, with as little harm as possible:
// whatever cost and harm are, as long as each layer adds its own. The least sum of harm is found by a price per unit of
// cost (a Lagrange multiplier, bisected): at each price every layer takes the rate that is best for it alone.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace espalier::pruning {

inline constexpr int kHarmSteps = 200;  // a curve of harm has so many equal parts of its layer, and their ends

// A weight that may be pruned.
struct CostCurve {
  std::string parameter;  // "dense_2.weight"
  std::int64_t weights = 0;
  std::vector<double> cost = {};  // at each sparsity of the table's grid
  std::vector<double> harm = {};  // of losing i of kHarmSteps parts, never falling
};

struct CostTable {
  std::vector<double> grid;  // of sparsities, ascending from 0
  std::vector<CostCurve> layers = {};
  double other = 0;  // of everything else
  double scale = 1;  // of the whole network against the sum of its parts
  double layer_cost(std::size_t layer, double rate) const;
  double network_cost(std::span<const double> rates) const;
};

double interpolated(const std::vector<double>& grid, const std::vector<double>& values, double at);

// The lowest rates of those that cost as little as it gets.
std::vector<double> cheapest_rates(const CostTable& table);
// The rates of least harm within the budget; none: even the cheapest cost more.
std::optional<std::vector<double>> least_harm(const CostTable& table, double budget);
double sparsity_of(const CostTable& table, std::span<const double> rates);  // over all weights

}  // namespace espalier::pruning
