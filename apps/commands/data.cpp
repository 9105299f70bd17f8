#include "apps/commands/data.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cstdlib>

#include "core/data/mnist.h"

namespace espalier::apps {
namespace {

namespace fs = std::filesystem;

// Beside the installed program, else in the source tree this one was built from.
fs::path fetch_script() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  const fs::path installed = program.parent_path().parent_path() / "share/espalier/fetch_data.sh";
  return fs::exists(installed) ? installed : fs::path(ESPALIER_FETCH_DATA);
}

bool holds_data(const fs::path& folder) {
  return fs::exists(folder / "train-images-idx3-ubyte") || fs::exists(folder / "train-images-idx3-ubyte.gz");
}

std::string name_of(const DataOptions& options) { return options.set.empty() ? "mnist" : options.set; }

std::string quoted(const std::string& text) {  // for the shell
  std::string result = "'";
  for (char c : text) result += c == '\'' ? "'\\''" : std::string(1, c);
  return result + "'";
}

void fetch(const std::string& set, const fs::path& folder, const Output& output) {
  say(output, fmt::format("{} is not on this machine yet; fetching it into {}\n", set, folder.string()));
  const std::string command = quoted(fetch_script().string()) + " " + set + " " + quoted(folder.string()) + " 1>&2";
  if (std::system(command.c_str()) != 0) throw data::DataError(set + " could not be fetched; see above");
}

}  // namespace

void add_data_options(CLI::App& app, DataOptions& options) {
  app.add_option("--data", options.set, "Data set (default: mnist, or the one that the checkpoint was trained on)")
      ->check(CLI::IsMember({"mnist", "fashion-mnist"}));
  app.add_option("--data-dir", options.directory,
                 "Folder with its IDX files (default: $ESPALIER_DATA, then the cache)");
  app.add_flag("--min-max", options.min_max, "Scale pixels to [0.001, 1] instead of mean 0 and deviation 1");
  app.add_option("--padding", options.padding, "Zero pixels around each image; 2 makes MNIST 32 x 32")
      ->check(CLI::Range(0, 64));
}

Notes notes_for(const DataOptions& options, const std::string& model) {
  return {{"model", model}, {"data", name_of(options)}, {"padding", std::to_string(options.padding.value_or(0))}};
}

DataOptions data_of(const DataOptions& options, const Notes& notes) {
  DataOptions result = options;
  const auto set = notes.find("data"), padding = notes.find("padding");
  if (result.set.empty() && set != notes.end()) result.set = set->second;
  if (!result.padding && padding != notes.end()) result.padding = std::stoll(padding->second);
  return result;
}

Shape image_of(const Notes& notes) {
  const std::int64_t border = 2 * data_of({}, notes).padding.value_or(0);
  return {kMnistImage[0], kMnistImage[1] + border, kMnistImage[2] + border};
}

data::ImageData load_data(const DataOptions& options, data::Options carving, const Output& output) {
  const std::string set = name_of(options);
  if (options.min_max) carving.scaling = data::Scaling::min_max;
  carving.padding = options.padding.value_or(0);
  const auto load = [&] {
    return set == "mnist" ? data::mnist(options.directory, carving) : data::fashion_mnist(options.directory, carving);
  };
  const fs::path cache = data::cache_directory(set);
  if (!options.directory.empty() || holds_data(cache)) return load();
  try {
    return load();  // from $ESPALIER_DATA
  } catch (const data::DataError&) {
    fetch(set, cache, output);
  }
  return load();
}

}  // namespace espalier::apps
