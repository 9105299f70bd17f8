// What bench found, for people and for programs: tables, JSON, CSV.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "pruning/comparison.h"

namespace espalier::apps {

using Comparisons = std::vector<pruning::Comparison>;  // one per batch size

std::string network_table(const Comparisons& comparisons);
std::string layer_table(const Comparisons& comparisons);
std::string choice_table(const Comparisons& comparisons);  // of the plans: each product's format with the reason

// [{batch, timing, best_dense, dense_us, best_dense_us, pruned_us, speedup, formats: [{format, median_us, ...}]}]
nlohmann::json to_json(const Comparisons& comparisons);

// A line for each format's whole network (layer "all") and each of its products.
std::string to_csv(const std::string& model, const Comparisons& comparisons);

}  // namespace espalier::apps
