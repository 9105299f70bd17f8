#include "apps/commands/trace_file.h"

#include <CLI/CLI.hpp>

#include "core/device/timeline.h"
#include "core/train/atomic_file.h"

namespace espalier::apps {

void add_trace_option(CLI::App& app, std::filesystem::path& file) {
  app.add_option("--trace", file, "Write where the time goes (layers, kernels, graph replays) for ui.perfetto.dev");
}

void with_trace(const std::filesystem::path& file, const std::string& command, const std::function<void()>& work) {
  if (file.empty()) return work();
  Timeline timeline("espalier " + command);
  write_file_atomically(file, timeline.to_json());
  try {
    work();
  } catch (...) {
    write_file_atomically(file, timeline.to_json());
    throw;
  }
  write_file_atomically(file, timeline.to_json());
}

}  // namespace espalier::apps
