// Every kernel beside the vendor's and the earlier rungs of its own ladder, at real and large shapes.
//   benchmark_kernels --filter "gemm lenet-5"      cases whose name holds these words; --list names them
//   benchmark_kernels --json FILE                  the rows for programs
//   benchmark_kernels --filter NAME --runs 1       only run it, for a profiler or an emulator that counts
//   benchmark_kernels --counters FILE              what a PTX emulator counted, and the times modelled from it
// Prints Markdown; apps/readme_table.py puts it into the README. The device is named, since a figure of the CPU
// emulation says nothing about a GPU.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "apps/benchmarks/case.h"
#include "apps/benchmarks/counters.h"
#include "apps/benchmarks/measure.h"
#include "core/device/device_info.h"
#include "core/device/stream.h"
#include "core/train/atomic_file.h"

namespace espalier::benchmarks {
namespace {

struct Options {
  std::string filter;
  std::filesystem::path json, counters;
  int runs = -1, flush_mebibytes = kFlushMebibytes;
  bool list = false, large = false;
};

bool holds_words(const std::string& name, const std::string& words) {
  std::istringstream stream(words);
  for (std::string word; stream >> word;) {
    if (name.find(word) == std::string::npos) return false;
  }
  return true;
}

// The case of exactly that name, else all that hold the words.
Cases chosen(const Options& options) {
  Cases all = all_cases();
  const auto exact = [&](const Case& one) { return one.name() == options.filter; };
  if (const auto one = std::find_if(all.begin(), all.end(), exact); one != all.end()) return {*one};
  std::erase_if(all, [&](const Case& one) {
    return !holds_words(one.name(), options.filter) || (one.large && simt::kEmulated && !options.large);
  });
  return all;
}

std::string device_line(const Options& options) {
  const DeviceInfo device = device_info();
  return fmt::format("{}, {} {}; medians", device.name, device.multiprocessors,
                     device.emulated                ? "threads"
                     : options.flush_mebibytes == 0 ? "multiprocessors, second-level cache as the run before left it"
                                                    : "multiprocessors, second-level cache emptied before each repeat");
}

void write_json(const std::filesystem::path& file, const char* key, const nlohmann::json& rows) {
  if (file.empty()) return;
  const DeviceInfo device = device_info();
  const nlohmann::json document{{"device", device.name}, {"emulated", device.emulated}, {key, rows}};
  write_file_atomically(file, document.dump(1) + "\n");
}

void show_counters(const Options& options) {
  const Cases cases = all_cases();
  std::vector<CountedCase> counted = read_counters(options.counters, cases);
  std::erase_if(counted, [&](const CountedCase& one) { return !holds_words(one.name, options.filter); });
  fmt::print("{}", to_markdown(counted));
  write_json(options.json, "counters", to_json(counted));
}

void run_only(const Cases& cases, int runs) {
  for (const Case& one : cases) {
    const Variants variants = one.prepare();
    for (int i = 0; i < runs; ++i) variants.at(0).run();
    synchronize();
  }
}

void compare(const Cases& cases, const Options& options) {
  std::vector<Row> rows;
  for (const Case& one : cases) {
    std::fprintf(stderr, "%s\n", one.name().c_str());
    for (Row& row : measure(one, options.flush_mebibytes)) rows.push_back(std::move(row));
  }
  fmt::print("{}\n\n{}", device_line(options), to_markdown(rows));
  write_json(options.json, "rows", to_json(rows));
}

void run(const Options& options) {
  if (!options.counters.empty()) return show_counters(options);
  const Cases cases = chosen(options);
  if (options.list) {
    for (const Case& one : cases) fmt::print("{}\n", one.name());
  } else if (options.runs >= 0) {
    run_only(cases, options.runs);
  } else {
    compare(cases, options);
  }
}

int main(int count, char** arguments) {
  CLI::App app("Times every kernel beside the vendor's.", "benchmark_kernels");
  Options options;
  app.add_option("--filter", options.filter, "Only cases whose name holds these words, or is this");
  app.add_option("--json", options.json, "Write the rows to this file, too");
  app.add_option("--counters", options.counters, "Show what a PTX emulator counted, and the times modelled from it");
  app.add_option("--runs", options.runs, "Run our variant so often and time nothing; 0 prepares the operands only");
  app.add_option("--flush", options.flush_mebibytes, "MiB written before each repeat on a GPU; 0: leave its cache warm")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_flag("--list", options.list, "Name the cases");
  app.add_flag("--large", options.large, "In the cpu build, too: cases that take it long");
  CLI11_PARSE(app, count, arguments);
  try {
    require_writable(options.json);
    run(options);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "benchmark_kernels: %s\n", error.what());
    return 1;
  }
}

}  // namespace
}  // namespace espalier::benchmarks

int main(int count, char** arguments) { return espalier::benchmarks::main(count, arguments); }
