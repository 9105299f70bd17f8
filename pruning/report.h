// The truth about a pruned model, layer by layer: what is left of weights, multiply-adds and bytes.
#pragma once
#include <fmt/format.h>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "layers/module.h"

namespace espalier::pruning {

struct LayerReport {
  std::string name;  // of the parameter
  Shape shape;
  std::int64_t total = 0, kept = 0;
  std::int64_t macs = 0, kept_macs = 0;  // per image; 0 where no input shape was given
  double sparsity() const { return 1.0 - double(kept) / double(total); }
};

struct Report {
  std::vector<LayerReport> layers;  // the prunable weights
  std::int64_t parameters = 0;      // of the whole model, biases and norms included
  std::int64_t kept_parameters = 0;
  std::int64_t total() const;  // of the prunable weights
  std::int64_t kept() const;
  std::int64_t macs() const;
  std::int64_t kept_macs() const;
  double sparsity() const { return 1.0 - double(kept()) / double(total()); }
  // Stored dense in fp32, and as kept values with one bit of mask per weight.
  std::int64_t dense_bytes() const { return 4 * parameters; }
  std::int64_t sparse_bytes() const;
  std::string to_json() const;
};

// With the shape of one input batch, multiply-adds are counted too (by running the model once).
Report report(Module& model, const std::optional<Shape>& input = std::nullopt);

std::string to_string(const Report& report);  // a table for people
std::string figures(const Report& report);    // weights, params, MACs (where counted) and bytes left, in one line

}  // namespace espalier::pruning

template <>
struct fmt::formatter<espalier::pruning::Report> : fmt::formatter<std::string> {
  auto format(const espalier::pruning::Report& report, fmt::format_context& context) const {
    return fmt::formatter<std::string>::format(espalier::pruning::to_string(report), context);
  }
};
