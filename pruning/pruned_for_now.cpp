#include "pruning/pruned_for_now.h"

#include "pruning/choice.h"

namespace espalier::pruning {

PrunedForNow::PrunedForNow(const std::vector<Parameter*>& parameters, std::span<const double> rates,
                           const Criterion& criterion, const Pattern& pattern, double min_density) {
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Tensor& weight = parameters[i]->value.value();
    saved_.emplace_back(weight, weight.clone());
    if (rates[i] == 0) continue;
    const Tensor scores[] = {criterion(*parameters[i])};
    bury_pruned(*parameters[i], scores[0]);
    Parameter copy(parameters[i]->name, weight.clone());
    copy.set_mask(pattern(scores, {.sparsity = rates[i], .min_density = min_density}).front());
    weight.copy_from(copy.value.value());
  }
}

PrunedForNow::~PrunedForNow() {
  for (const auto& [weight, values] : saved_) weight.copy_from(values);
}

}  // namespace espalier::pruning
