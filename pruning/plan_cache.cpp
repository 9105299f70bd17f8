#include "pruning/plan_cache.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/data/mnist.h"
#include "core/device/device_info.h"
#include "core/train/atomic_file.h"
#include "kernels/fnv.h"
#include "kernels/vendor/blas.h"
#include "kernels/vendor/sparse.h"

namespace espalier::pruning {
namespace {

namespace fs = std::filesystem;

nlohmann::json to_json(const CachedTime& one) {
  const Timing& timing = one.timing;
  return {{"median_us", timing.median_us},   {"lower_quartile_us", timing.lower_quartile_us},
          {"minimum_us", timing.minimum_us}, {"upper_quartile_us", timing.upper_quartile_us},
          {"repeats", timing.repeats},       {"launches", one.launches}};
}

CachedTime cached_time(const nlohmann::json& json) {
  return {{.median_us = json.at("median_us").get<double>(),
           .lower_quartile_us = json.at("lower_quartile_us").get<double>(),
           .upper_quartile_us = json.at("upper_quartile_us").get<double>(),
           .minimum_us = json.at("minimum_us").get<double>(),
           .repeats = json.at("repeats").get<int>()},
          json.at("launches").get<int>()};
}

// Kernels change from build to build, and with them their times.
std::string this_build() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  const auto bytes = fs::file_size(program, error);
  const auto written = fs::last_write_time(program, error).time_since_epoch().count();
  return fmt::format("{} bytes of {}", error ? 0 : bytes, error ? 0 : written);
}

std::string host() {
  std::array<char, 256> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

}  // namespace

struct PlanCache::State {
  fs::path folder;
  Warn warn;
  bool unwritable = false;
};

PlanCache::PlanCache(fs::path folder, Warn warn) : state_(std::make_shared<State>()) {
  state_->folder = std::move(folder);
  state_->warn =
      warn ? std::move(warn) : [](const std::string& text) { fmt::print(stderr, "espalier: warning: {}\n", text); };
}

fs::path PlanCache::file_of(const std::string& question) const {
  return state_->folder / fmt::format("{:016x}.json", kernels::fnv1a(question));
}

std::optional<std::vector<CachedTime>> PlanCache::find(const std::string& question) const {
  if (!on()) return std::nullopt;
  std::ifstream stream(file_of(question), std::ios::binary);
  if (!stream) return std::nullopt;
  const std::string text(std::istreambuf_iterator<char>(stream), {});
  try {
    const nlohmann::json json = nlohmann::json::parse(text);
    if (json.at("question").get<std::string>() != question) return std::nullopt;
    std::vector<CachedTime> answer;
    for (const nlohmann::json& one : json.at("times")) answer.push_back(cached_time(one));
    return answer;
  } catch (const nlohmann::json::exception&) {
    state_->warn(file_of(question).string() + " is damaged; measuring anew");
    return std::nullopt;
  }
}

void PlanCache::store(const std::string& question, const std::vector<CachedTime>& answer) const {
  if (!on() || state_->unwritable) return;
  nlohmann::json times = nlohmann::json::array();
  for (const CachedTime& one : answer) times.push_back(to_json(one));
  std::error_code ignored;
  fs::create_directories(state_->folder, ignored);
  try {
    write_file_atomically(file_of(question), nlohmann::json{{"question", question}, {"times", times}}.dump(1) + "\n");
  } catch (const FileError& error) {
    state_->unwritable = true;
    state_->warn(std::string("measured times are not kept: ") + error.what());
  }
}

fs::path user_plan_cache() { return data::cache_directory("plans"); }

std::string measured_on() {
  const DeviceInfo device = device_info();
  std::string text = fmt::format("{}, {} multiprocessors", device.name, device.multiprocessors);
  text += device.emulated ? " of " + host()
                          : fmt::format(", compute capability {}, driver {}, runtime {}", device.compute_capability,
                                        device.driver, device.runtime);
  return text + fmt::format(", {} {}, {} {}, program {}", kernels::vendor::blas_name(), kernels::vendor::blas_version(),
                            kernels::vendor::sparse_name(), kernels::vendor::sparse_version(), this_build());
}

}  // namespace espalier::pruning
