#include "apps/commands/contradictions.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "kernels/require.h"
#include "pruning/channel_pruning.h"
#include "pruning/weights.h"

namespace espalier::apps {
namespace {

constexpr double kRounding = 5e-3;  // whole weights, and targets that people round

}  // namespace

void require_agreement(const PruningOptions& asked, Module& model) {
  if (asked.target.unit != pruning::Target::Unit::sparsity || !asked.rates.empty()) return;
  double all = 0, shared = 0, elsewhere = 0;
  for (const Parameter* parameter : pruning::weights_of(model, asked.ignore)) {
    const double size = double(parameter->size());
    all += size;
    const auto own = asked.layers.find(parameter->name);
    if (own == asked.layers.end()) {
      shared += size;
      continue;
    }
    elsewhere += own->second * size;
    require(own->second <= 1 - asked.min_density + kRounding,
            fmt::format("prune: {} is to lose {:g} %, but each layer keeps {:g} % at least (min_density); lower one",
                        parameter->name, 100 * own->second, 100 * asked.min_density));
  }
  if (shared == 0) {
    require(!asked.target_said || std::abs(elsewhere / all - asked.target.value) <= kRounding,
            fmt::format("prune: the layers' own sparsities remove {:g} % together, sparsity says {:g} %; leave one out",
                        100 * elsewhere / all, 100 * asked.target.value));
    return;
  }
  const double rest = (asked.target.value * all - elsewhere) / shared;
  require(rest >= -kRounding,
          fmt::format("prune: the layers' own sparsities remove {:g} % of all weights already, sparsity says {:g} %; "
                      "raise it, or lower theirs",
                      100 * elsewhere / all, 100 * asked.target.value));
  require(rest <= 1 - asked.min_density + 1e-9,
          fmt::format("prune: {:g} % cannot go where each layer keeps {:g} % at least (min_density); lower one",
                      100 * rest, 100 * asked.min_density));
  require(
      rest >= 1 - asked.max_density - 1e-9,
      fmt::format("prune: no more than {:g} % is to go, but each layer keeps {:g} % at most (max_density); raise one",
                  100 * rest, 100 * asked.max_density));
}

void require_reachable(const pruning::PrunerOptions& made, double sparsity, const PruningOptions& asked, Module& model,
                       const Shape& input) {
  require(asked.layers.empty(),
          "prune: weights with sparsities of their own (layers) where whole channels fall; name "
          "groups that stay in ignore");
  std::vector<Tensor> scores;
  for (const Parameter* parameter : pruning::weights_of(model)) scores.push_back(pruning::magnitude()(*parameter));
  made.pattern(scores, {.sparsity = sparsity, .min_density = made.min_density});  // says what is left, if too much
  if (asked.target.unit != pruning::Target::Unit::channels) return;
  double all = 0, least = 0;
  for (const pruning::ChannelGroup& group : pruning::groups_that_can_fall(model, input, asked.ignore)) {
    const double width = double(group.channels.size());
    all += width, least += std::max(1.0, std::ceil(made.min_density * width - 1e-9));
  }
  require(std::round(sparsity * all) <= all - least,
          fmt::format("prune: {:g} of {:g} channels cannot fall; {:g} are left when every layer is at its floor",
                      std::round(sparsity * all), all, least));
}

void require_turns(const PruningOptions& asked, std::int64_t end) {
  require(asked.regrowth_every < end, "prune: regrowth ", asked.regrowth, " every ", asked.regrowth_every,
          " steps, but it ends after ", end, ", so that nothing would grow; train longer, or lower regrowth_every");
}

}  // namespace espalier::apps
