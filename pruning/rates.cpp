#include "pruning/rates.h"

#include <algorithm>
#include <numeric>

#include "kernels/require.h"

namespace espalier::pruning {
namespace {

double raw_density(const Shape& weight, RandomGraph graph) {
  const std::size_t axes = graph == RandomGraph::erdos_renyi ? std::min<std::size_t>(2, weight.rank()) : weight.rank();
  double sum = 0, product = 1;
  for (std::size_t axis = 0; axis < axes; ++axis) {
    sum += double(weight.extents()[axis]);
    product *= double(weight.extents()[axis]);
  }
  return sum / product;
}

}  // namespace

std::vector<double> random_graph_densities(std::span<const Shape> weights, double density, RandomGraph graph) {
  require(density > 0.0 && density <= 1.0, "random graph: density is ", density, "; it must be above 0, at most 1");
  std::vector<double> densities(weights.size(), 0.0);
  double left = 0;  // weights that may still be kept
  for (const Shape& weight : weights) left += density * double(weight.size());
  for (;;) {  // layers that would be more than dense are dense, the others share what is left
    bool changed = false;
    double raw = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if (densities[i] < 1.0) raw += raw_density(weights[i], graph) * double(weights[i].size());
    }
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if (densities[i] >= 1.0) continue;
      densities[i] = raw_density(weights[i], graph) * left / raw;
      changed = changed || densities[i] >= 1.0;
    }
    if (!changed) break;
    left = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      densities[i] = densities[i] >= 1.0 ? 1.0 : 0.0;
      left += (density - densities[i]) * double(weights[i].size());
    }
    left = std::max(left, 0.0);
  }
  return densities;
}

std::string_view to_string(Target::Unit unit) {
  constexpr std::string_view names[] = {"sparsity", "params", "macs", "bytes", "channels", "threshold"};
  return names[std::size_t(unit)];
}

double left_by(const Target& target, double all, const char* who) {
  const double left = target.value <= 1.0 ? target.value * all : target.value;
  require(left > 0.0 && left <= all, who, ": a target of ", target.value, " ", std::string(to_string(target.unit)),
          "; give a fraction of what is there, in (0, 1], or a number of at most ", std::int64_t(all));
  return left;
}

}  // namespace espalier::pruning
