#include "pruning/pruner.h"

#include <algorithm>

#include "core/device/stream.h"
#include "kernels/pattern.h"
#include "kernels/require.h"

namespace espalier::pruning {
namespace {

std::vector<Parameter*> prunable(Module& model, const std::vector<std::string>& ignore) {
  std::vector<Parameter*> found;
  std::size_t ignored = 0;
  std::string names;
  for (Parameter* parameter : model.parameters()) {
    names += " " + parameter->name;
    if (std::find(ignore.begin(), ignore.end(), parameter->name) != ignore.end()) {
      ++ignored;
    } else if (parameter->value.shape().rank() >= 2) {
      found.push_back(parameter);
    }
  }
  require(ignored == ignore.size(), "pruner: ", ignore.size() - ignored,
          " of the ignored names belong to no parameter; there are", names);
  require(!found.empty(), "pruner: no weight of two axes or more is left to prune among", names);
  return found;
}

Tensor scores_of(const Criterion& criterion, const Parameter& parameter) {
  Tensor scores = criterion(parameter);
  require(scores.shape() == parameter.value.shape(), "pruner: the criterion gave scores ", scores.shape().to_string(),
          " for ", parameter.name, " ", parameter.value.shape().to_string());
  if (const Mask* mask = parameter.mask()) {
    kernels::bury_pruned(scores.size(), mask->keep.data<std::uint8_t>(), scores.data<float>(), current_stream());
  }
  return scores;
}

}  // namespace

Pruner::Pruner(Module& model, PrunerOptions options)
    : model_(model), options_(std::move(options)), parameters_(prunable(model, options_.ignore)) {
  require(options_.min_density >= 0.0 && options_.min_density <= 1.0, "pruner: min_density is ", options_.min_density,
          "; it is the fraction of each layer that lives at least, in [0, 1]");
}

bool Pruner::step() {
  const auto sparsity = options_.schedule ? options_.schedule(step_) : std::nullopt;
  ++step_;
  if (sparsity) prune_to(*sparsity);
  return sparsity.has_value();
}

void Pruner::prune_to(double sparsity) {
  require_sparsity(sparsity);
  if (options_.scope == Scope::global) {
    set_masks(parameters_, sparsity);
    return;
  }
  for (Parameter* parameter : parameters_) set_masks({parameter}, sparsity);
}

void Pruner::set_masks(const std::vector<Parameter*>& parameters, double sparsity) {
  std::vector<Tensor> scores;
  for (const Parameter* parameter : parameters) scores.push_back(scores_of(options_.criterion, *parameter));
  std::vector<Mask> masks = options_.pattern(scores, {.sparsity = sparsity, .min_density = options_.min_density});
  for (std::size_t i = 0; i < parameters.size(); ++i) parameters[i]->set_mask(std::move(masks[i]));
}

Report Pruner::report(const std::optional<Shape>& input) const { return pruning::report(model_, input); }

}  // namespace espalier::pruning
