// --trace FILE: where the time of a command went, to be opened at ui.perfetto.dev.
#pragma once
#include <filesystem>
#include <functional>
#include <string>

namespace CLI {
class App;
}

namespace espalier::apps {

void add_trace_option(CLI::App& app, std::filesystem::path& file);

// Runs `work` and, unless `file` is empty, leaves its timeline there, also where the work fails. Throws FileError
// before the work begins if the file cannot be written.
void with_trace(const std::filesystem::path& file, const std::string& command, const std::function<void()>& work);

}  // namespace espalier::apps
