#include "apps/commands/sparse_training.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

namespace espalier::apps {

nlohmann::json tell_sparse_training(const pruning::Pruner& pruner, const Output& output) {
  const std::string always_dense = pruner.always_dense();
  nlohmann::json json;
  for (const pruning::SparseTrainingChoice& choice : pruner.sparse_training()) {
    const bool sparse = choice.sparse && always_dense.empty();
    const std::string& reason = always_dense.empty() ? choice.reason : always_dense;
    say(output, fmt::format("{} trains {}: {}\n", choice.parameter, sparse ? "sparse" : "dense", reason));
    json.push_back({{"parameter", choice.parameter}, {"sparse", sparse}, {"reason", reason}});
  }
  return json;
}

}  // namespace espalier::apps
