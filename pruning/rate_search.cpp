#include "pruning/rate_search.h"

#include <algorithm>
#include <cmath>

namespace espalier::pruning {
namespace {

double rate_at(const CostTable& table, int step) { return std::min(double(step) / kHarmSteps, table.grid.back()); }

int last_step(const CostTable& table) { return int(std::ceil(table.grid.back() * kHarmSteps)); }

// The rates that are best for each layer alone where a unit of cost is worth so much harm.
std::vector<double> rates_at_price(const CostTable& table, double price) {
  std::vector<double> rates;
  for (std::size_t layer = 0; layer < table.layers.size(); ++layer) {
    const auto loss = [&](int step) {
      return table.layers[layer].harm[std::size_t(step)] + price * table.layer_cost(layer, rate_at(table, step));
    };
    int best = 0;
    for (int step = 1; step <= last_step(table); ++step) {
      if (loss(step) < loss(best)) best = step;
    }
    rates.push_back(rate_at(table, best));
  }
  return rates;
}

// Gives back what the budget leaves over: each layer's rate falls as far as the whole still fits.
void use_slack(const CostTable& table, double budget, std::vector<double>& rates) {
  for (double& rate : rates) {
    const double chosen = rate;
    for (int step = 0; rate_at(table, step) < chosen; ++step) {
      rate = rate_at(table, step);
      if (table.network_cost(rates) <= budget) break;
      rate = chosen;
    }
  }
}

}  // namespace

double interpolated(const std::vector<double>& grid, const std::vector<double>& values, double at) {
  const auto above = std::lower_bound(grid.begin(), grid.end(), at);
  if (above == grid.begin()) return values.front();
  if (above == grid.end()) return values.back();
  const auto i = std::size_t(above - grid.begin());
  const double t = (at - grid[i - 1]) / (grid[i] - grid[i - 1]);
  return values[i - 1] + t * (values[i] - values[i - 1]);
}

double CostTable::layer_cost(std::size_t layer, double rate) const {
  return interpolated(grid, layers[layer].cost, rate);
}

double CostTable::network_cost(std::span<const double> rates) const {
  double sum = other;
  for (std::size_t i = 0; i < layers.size(); ++i) sum += layer_cost(i, rates[i]);
  return scale * sum;
}

std::vector<double> cheapest_rates(const CostTable& table) {
  std::vector<double> rates(table.layers.size());
  for (std::size_t layer = 0; layer < rates.size(); ++layer) {
    const double least = table.layer_cost(layer, table.grid.back());
    int step = 0;
    while (table.layer_cost(layer, rate_at(table, step)) > least) ++step;
    rates[layer] = rate_at(table, step);
  }
  return rates;
}

std::optional<std::vector<double>> least_harm(const CostTable& table, double budget) {
  std::vector<double> rates = cheapest_rates(table);
  if (table.network_cost(rates) > budget) return std::nullopt;
  double low = 1e-12, high = 1e9;  // harm is about 1 a layer; costs are nanoseconds to minutes, or up to 1e12 weights
  for (int i = 0; i < 120; ++i) {
    const double price = std::sqrt(low * high);
    std::vector<double> tried = rates_at_price(table, price);
    if (table.network_cost(tried) <= budget) {
      high = price, rates = std::move(tried);
    } else {
      low = price;
    }
  }
  use_slack(table, budget, rates);
  return rates;
}

double sparsity_of(const CostTable& table, std::span<const double> rates) {
  double removed = 0, all = 0;
  for (std::size_t i = 0; i < rates.size(); ++i) {
    removed += rates[i] * double(table.layers[i].weights), all += double(table.layers[i].weights);
  }
  return removed / all;
}

}  // namespace espalier::pruning
