// One folder per run with everything the run leaves behind: report.json, metrics.jsonl, checkpoints.
#pragma once
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace espalier::apps {

class RunFolder {
 public:
  // `asked`, or runs/COMMAND-DATE-TIME below the current folder when it is empty. Throws FileError when it cannot be
  // made.
  RunFolder(const std::filesystem::path& asked, const std::string& command);
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  void write_report(const nlohmann::json& report) const;  // report.json

 private:
  std::filesystem::path path_;
};

}  // namespace espalier::apps
