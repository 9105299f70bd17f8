// Runs cases and times them: the best median of three rounds, in which the variants take turns; on a GPU with the
// second-level cache emptied before every repeat.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "apps/benchmarks/case.h"
#include "core/device/gpu_model.h"
#include "core/device/timer.h"

namespace espalier::benchmarks {

struct Row {
  std::string kernel, shape, by;
  Timing timing;
  double gflops = 0, gigabytes_per_second = 0;    // of the ideal work
  std::optional<double> roofline = std::nullopt;  // fraction of it that was reached; none: no datasheet of this device
  std::optional<double> of_ours = std::nullopt;   // how many times as long as ours; none: it is ours
};

inline constexpr int kFlushMebibytes = 256;  // twice the largest second-level cache there is

// One row per variant, ours first. `flush_mebibytes` are written before each repeat on a GPU; 0: the cache stays warm.
std::vector<Row> measure(const Case& one, int flush_mebibytes = kFlushMebibytes);

std::string to_markdown(std::span<const Row> rows);
nlohmann::json to_json(std::span<const Row> rows);

}  // namespace espalier::benchmarks
