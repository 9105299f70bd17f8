#include "apps/commands/stored_size.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/commands/table.h"

namespace espalier::apps {
namespace {

constexpr int kMegabitsPerSecond[] = {10, 100, 1000};

// Of the bytes alone: a protocol's own are not known here.
double milliseconds(std::int64_t bytes, int megabits_per_second) {
  return 8e-3 * double(bytes) / double(megabits_per_second);
}

std::string ratio(std::int64_t dense, std::int64_t bytes) {
  return fmt::format("{:.1f}x", double(dense) / double(bytes));
}

}  // namespace

StoredSize::StoredSize(const std::filesystem::path& file)
    : layers(stored_layers(file)), file_bytes(std::int64_t(std::filesystem::file_size(file))) {
  for (const StoredLayer& layer : layers) dense_bytes += layer.dense_bytes;
}

std::string StoredSize::to_string() const {
  Table sizes({"tensor", "kept", "total", "layout", "values", "bytes", "dense", "smaller"}, {3, 4});
  std::int64_t rest = file_bytes;
  for (const StoredLayer& layer : layers) {
    sizes.add({layer.name, fmt::format("{}", layer.kept), fmt::format("{}", layer.shape.size()), layer.layout,
               layer.values, fmt::format("{}", layer.bytes), fmt::format("{}", layer.dense_bytes),
               ratio(layer.dense_bytes, layer.bytes)});
    rest -= layer.bytes;
  }
  sizes.add({"header and notes", "", "", "", "", fmt::format("{}", rest), "", ""});
  sizes.add({"the whole file", "", "", "", "", fmt::format("{}", file_bytes), fmt::format("{}", dense_bytes),
             ratio(dense_bytes, file_bytes)});
  Table times({"Mbit/s", "ms for the file", "ms dense"});
  for (const int rate : kMegabitsPerSecond) {
    times.add({fmt::format("{}", rate), fmt::format("{:.3f}", milliseconds(file_bytes, rate)),
               fmt::format("{:.3f}", milliseconds(dense_bytes, rate))});
  }
  return sizes.to_string() + "\n" + times.to_string();
}

nlohmann::json StoredSize::to_json() const {
  nlohmann::json stored = nlohmann::json::array(), transmission = nlohmann::json::array();
  for (const StoredLayer& layer : layers) {
    stored.push_back({{"name", layer.name},
                      {"shape", layer.shape.extents()},
                      {"kept", layer.kept},
                      {"total", layer.shape.size()},
                      {"layout", layer.layout},
                      {"values", layer.values},
                      {"bytes", layer.bytes},
                      {"dense_bytes", layer.dense_bytes}});
  }
  for (const int rate : kMegabitsPerSecond) {
    transmission.push_back({{"megabits_per_second", rate},
                            {"milliseconds", milliseconds(file_bytes, rate)},
                            {"dense_milliseconds", milliseconds(dense_bytes, rate)}});
  }
  return {{"file_bytes", file_bytes},
          {"dense_bytes", dense_bytes},
          {"ratio", double(dense_bytes) / double(file_bytes)},
          {"layers", std::move(stored)},
          {"transmission", std::move(transmission)}};
}

}  // namespace espalier::apps
