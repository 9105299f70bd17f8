// What a model's file costs: bytes per layer beside those of the dense weights, and how long it takes over a wire.
#pragma once
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/train/compressed_file.h"

namespace espalier::apps {

struct StoredSize {
  explicit StoredSize(const std::filesystem::path& file);  // throws CheckpointError
  std::string to_string() const;                           // tables for people
  nlohmann::json to_json() const;                          // {file_bytes, dense_bytes, ratio, layers, transmission}

  std::vector<StoredLayer> layers;
  std::int64_t file_bytes = 0;
  std::int64_t dense_bytes = 0;  // all tensors in full, without masks or a header
};

}  // namespace espalier::apps
