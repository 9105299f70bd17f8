// How much of each layer lives: random-graph allocation, and budgets in the user's units.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "core/tensor/shape.h"

namespace espalier::pruning {

// Densities in proportion to (out + in) / (out * in) of each weight, none above 1, that keep round(density * all)
// weights together (Erdos-Renyi: Mocanu et al. 2018, arXiv 1707.04780); with the sides of a convolution's window in
// sum and product, small layers keep more (Erdos-Renyi-kernel: Evci et al. 2020, arXiv 1911.11134, section 3).
enum class RandomGraph { erdos_renyi, erdos_renyi_kernel };
std::vector<double> random_graph_densities(std::span<const Shape> weights, double density, RandomGraph graph);

// What is to be left, in a unit that has a name. Up to 1 a value is a fraction of what the dense model has, above 1 a
// number: {Unit::macs, 0.5}, {Unit::params, 12'000}.
struct Target {
  enum class Unit {
    sparsity,   // fraction of the prunable weights removed: value in [0, 1)
    params,     // parameters of the model, biases and norms included
    macs,       // multiply-adds per image
    bytes,      // kept values and one bit of mask per weight of a pruned layer
    channels,   // rows of the prunable weights (filters, neurons) of which any weight lives
    threshold,  // every weight whose score is below the value falls; any value
  };
  Unit unit = Unit::sparsity;
  double value = 0.9;
};
std::string_view to_string(Target::Unit unit);  // "params"

// What may be left of `all` for a target of params, macs, bytes or channels: its value is the fraction of all or, above
// 1, the number. Throws InvalidArgument, in the name of `who`, where that is nothing or more than there is.
double left_by(const Target& target, double all, const char* who);

}  // namespace espalier::pruning
