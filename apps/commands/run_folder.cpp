#include "apps/commands/run_folder.h"

#include <fmt/chrono.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "core/train/atomic_file.h"

namespace espalier::apps {

RunFolder::RunFolder(const std::filesystem::path& asked, const std::string& command) : path_(asked) {
  if (path_.empty()) {
    const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    path_ = fmt::format("runs/{}-{:%Y%m%d-%H%M%S}", command, fmt::localtime(now));
  }
  std::error_code error;
  std::filesystem::create_directories(path_, error);
  if (error) throw FileError(fmt::format("cannot make the run folder {}: {}", path_.string(), error.message()));
}

void RunFolder::write_report(const nlohmann::json& report) const {
  write_file_atomically(path_ / "report.json", report.dump(2) + "\n");
}

}  // namespace espalier::apps
