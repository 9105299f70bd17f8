#include "apps/commands/output.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "core/device/device_info.h"

namespace espalier::apps {

void add_output_options(CLI::App& app, Output& output) {
  app.add_flag("--json", output.json, "Print the result as one JSON document on standard output");
  app.add_flag("--quiet", output.quiet, "Print nothing but the result");
}

void say(const Output& output, const std::string& text) {
  if (output.quiet) return;
  std::FILE* stream = output.json ? stderr : stdout;
  fmt::print(stream, "{}", text);
  std::fflush(stream);
}

void print_result(const Output& output, const nlohmann::json& result) {
  if (output.json) fmt::print("{}\n", result.dump(2));
}

nlohmann::json device_json() {
  const DeviceInfo info = device_info();
  nlohmann::json json{{"name", info.name},
                      {"emulated", info.emulated},
                      {"multiprocessors", info.multiprocessors},
                      {"memory_bytes", info.memory_bytes}};
  if (!info.emulated) {
    json["compute_capability"] = info.compute_capability;
    json["driver"] = info.driver;
    json["runtime"] = info.runtime;
  }
  return json;
}

std::string timing_name() { return device_info().name; }

void print_device(const Output& output) {
  const DeviceInfo info = device_info();
  if (info.emulated) {
    say(output, fmt::format("{} on {} threads: the CUDA sources run on this machine's cores; times say nothing about "
                            "a GPU\n",
                            info.name, info.multiprocessors));
  } else {
    say(output, fmt::format("{}, {} multiprocessors, {:.1f} GiB, compute capability {}, driver {}, runtime {}\n",
                            info.name, info.multiprocessors, double(info.memory_bytes) / (1 << 30),
                            info.compute_capability, info.driver, info.runtime));
  }
  print_result(output, device_json());
}

}  // namespace espalier::apps
