#include "pruning/pruned_for_now.h"

#include "pruning/choice.h"

namespace espalier::pruning {

PrunedForNow::PrunedForNow(const std::vector<Parameter*>& parameters, std::span<const double> rates,
                           const Criterion& criterion, const Pattern& pattern, double min_density) {
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (rates[i] == 0) continue;
    const Tensor scores[] = {criterion(*parameters[i])};
    bury_pruned(*parameters[i], scores[0]);
    leave(*parameters[i], pattern(scores, {.sparsity = rates[i], .min_density = min_density}).front());
  }
}

PrunedForNow::PrunedForNow(const std::vector<Parameter*>& parameters, std::vector<Mask> masks) {
  for (std::size_t i = 0; i < parameters.size(); ++i) leave(*parameters[i], std::move(masks[i]));
}

void PrunedForNow::leave(const Parameter& parameter, Mask mask) {
  const Tensor& weight = parameter.value.value();
  saved_.emplace_back(weight, weight.clone());
  Parameter copy(parameter.name, weight.clone());
  copy.set_mask(std::move(mask));
  weight.copy_from(copy.value.value());
}

PrunedForNow::~PrunedForNow() {
  for (const auto& [weight, values] : saved_) weight.copy_from(values);
}

}  // namespace espalier::pruning
