// The rules of the house that a text search can keep: includes point one way, files stay short, nothing strays in.
// Each test lists the offenders as "file:line: what".
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "tests/support/source_dir.h"

namespace {

namespace fs = std::filesystem;

struct Source {
  std::string path;  // from the root, "kernels/gemm.cu"
  std::vector<std::string> lines;
  bool in(const std::string& folder) const { return path.starts_with(folder + "/"); }
  bool is_cpp() const { return path.ends_with(".h") || path.ends_with(".cpp") || path.ends_with(".cu"); }
};

std::vector<Source> read_sources() {
  const fs::path root = espalier::test::source_dir();
  const std::set<std::string> text{".h", ".cpp", ".cu", ".py", ".sh", ".cmake", ".in", ".md", ".txt", ".json", ""};
  std::vector<Source> sources;
  const auto read = [&](const fs::path& file) {
    if (!text.contains(file.extension().string())) return;
    Source source{fs::relative(file, root).string(), {}};
    std::ifstream stream(file);
    for (std::string line; std::getline(stream, line);) source.lines.push_back(line);
    sources.push_back(std::move(source));
  };
  for (const char* folder : {"kernels", "core", "layers", "pruning", "apps", "tests", ".ci"}) {
    if (!fs::exists(root / folder)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (entry.is_regular_file()) read(entry.path());
    }
  }
  for (const char* file : {"run", "README.md", "CMakeLists.txt", "CMakePresets.json"}) {
    if (fs::exists(root / file)) read(root / file);
  }
  return sources;
}

const std::vector<Source>& sources() {
  static const std::vector<Source> all = read_sources();
  return all;
}

// Calls offends(source, line) for each line of each source and lists those for which it says something.
template <class Offends>
std::string offenders(const Offends& offends) {
  std::string list;
  for (const Source& source : sources()) {
    for (std::size_t i = 0; i < source.lines.size(); ++i) {
      const std::string what = offends(source, source.lines[i]);
      if (!what.empty()) list += source.path + ":" + std::to_string(i + 1) + ": " + what + "\n";
    }
  }
  return list;
}

// The path between quotes or angle brackets of an #include line, else "".
std::string included(const std::string& line) {
  static const std::regex include(R"(^\s*#\s*include\s*["<]([^">]+)[">].*)");
  std::smatch match;
  return std::regex_match(line, match, include) ? match[1].str() : "";
}

// The first entry that `path` lies in, as an index; the number of entries if none.
template <class Folders>
std::size_t room_of(const Folders& folders, const std::string& path) {
  const auto holds = [&](const std::string& folder) { return path.starts_with(folder + "/"); };
  return std::size_t(std::find_if(folders.begin(), folders.end(), holds) - folders.begin());
}

}  // namespace

TEST_CASE("house: the sources are found") { CHECK(sources().size() > 50); }

TEST_CASE("house: a folder includes only itself and the folders below it") {
  const std::array<std::string, 6> order{"kernels", "core", "layers", "pruning", "apps", "tests"};
  const std::string list = offenders([&](const Source& source, const std::string& line) -> std::string {
    const std::size_t from = room_of(order, source.path), to = room_of(order, included(line));
    return source.is_cpp() && to < order.size() && to > from ? "includes upward: " + line : "";
  });
  CHECK(list == "");
}

TEST_CASE("house: inside core, arrows run device <- tensor <- autograd, data <- train") {
  const std::array<std::string, 5> order{"core/device", "core/tensor", "core/autograd", "core/data", "core/train"};
  const std::string list = offenders([&](const Source& source, const std::string& line) -> std::string {
    const std::size_t from = room_of(order, source.path), to = room_of(order, included(line));
    const bool upward = from < order.size() && to < order.size() && to > from;
    const bool data_uses_autograd = from == 3 && to == 2;
    return upward || data_uses_autograd ? "includes upward: " + line : "";
  });
  CHECK(list == "");
}

TEST_CASE("house: kernels are plain CUDA, and no kernel calls a vendor library") {
  const std::string list = offenders([](const Source& source, const std::string& line) -> std::string {
    const std::string header = included(line);
    if (!source.in("kernels") || header.empty()) return "";
    if (header.starts_with("fmt/") || header.starts_with("nlohmann/")) return "not for kernels: " + header;
    if (header.starts_with("kernels/vendor/") && !source.in("kernels/vendor")) return "vendor: " + header;
    return "";
  });
  CHECK(list == "");
}

TEST_CASE("house: CUDA enters through kernels/simt or a vendor file, the command line parser through apps") {
  const std::string list = offenders([](const Source& source, const std::string& line) -> std::string {
    const std::string header = included(line);
    const bool cuda = header.starts_with("cuda") || header.starts_with("mma.h") || header.starts_with("cu");
    const bool seam = source.in("kernels/simt") || source.in("kernels/vendor") || source.in("core/device");
    if (cuda && !header.starts_with("custom") && !seam) return "CUDA header: " + header;
    return header.starts_with("CLI/") && !source.in("apps") ? "command line: " + header : "";
  });
  CHECK(list == "");
}

TEST_CASE("house: conditional compilation and macros live in simt and vendor") {
  const std::regex directive(R"(^\s*#\s*(if|ifdef|ifndef|elif|else|define|undef)\b.*)");
  const std::string list = offenders([&](const Source& source, const std::string& line) -> std::string {
    const bool allowed = source.in("kernels/simt") || source.in("kernels/vendor");
    const bool doctest = source.in("tests") && line.find("DOCTEST_CONFIG") != std::string::npos;
    return source.is_cpp() && !allowed && !doctest && std::regex_match(line, directive) ? line : "";
  });
  CHECK(list == "");
}

TEST_CASE("house: lines have at most 120 columns") {
  const std::string list = offenders([](const Source& source, const std::string& line) -> std::string {
    if (source.path.ends_with(".md") || source.path.ends_with(".json")) return "";
    const auto starts_character = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
    const auto columns = std::count_if(line.begin(), line.end(), starts_character);
    return columns > 120 ? std::to_string(columns) + " columns" : "";
  });
  CHECK(list == "");
}

TEST_CASE("house: files have at most 400 lines, commands at most 150, headers say #pragma once") {
  std::string list;
  for (const Source& source : sources()) {
    if (source.path.ends_with(".md")) continue;
    const std::size_t limit = source.in("apps/commands") ? 150 : 400;
    if (source.lines.size() > limit) list += source.path + ": " + std::to_string(source.lines.size()) + " lines\n";
    const bool guarded = std::find(source.lines.begin(), source.lines.end(), "#pragma once") != source.lines.end();
    if (source.path.ends_with(".h") && !guarded) list += source.path + ": no #pragma once\n";
  }
  CHECK(list == "");
}

TEST_CASE("house: every header opens with what it is") {
  std::string list;
  for (const Source& source : sources()) {
    if (source.path.ends_with(".h") && !source.lines.at(0).starts_with("//")) list += source.path + "\n";
  }
  CHECK(list == "");
}

TEST_CASE("house: no machine's paths, no unfinished marks") {
  // Written in halves, so that this file does not hold what it looks for.
  const std::regex stray(
      "(/wo"
      "rk/|/tmp/w"
      "t|/ho"
      "me/|/ro"
      "ot/|\\bTO"
      "DO\\b|\\bFIX"
      "ME\\b|\\bXX"
      "X\\b"
      "|\\bag"
      "ents?\\b|\\bses"
      "sions?\\b|\\bthis is"
      "sue\\b|#if"
      " 0)",
      std::regex::icase);
  const std::string list = offenders([&](const Source&, const std::string& line) -> std::string {
    return std::regex_search(line, stray) ? line : "";
  });
  CHECK(list == "");
}

TEST_CASE("house: nothing but the known entries at the top") {
  const std::set<std::string> known{"run",     "README.md", "CMakeLists.txt", "CMakePresets.json",
                                    "kernels", "core",      "layers",         "pruning",
                                    "apps",    "tests",     "runs",           "data"};
  std::string strangers;
  for (const auto& entry : fs::directory_iterator(espalier::test::source_dir())) {
    const std::string name = entry.path().filename().string();
    if (!known.contains(name) && !name.starts_with(".") && !name.starts_with("build")) strangers += name + "\n";
  }
  CHECK(strangers == "");
}
