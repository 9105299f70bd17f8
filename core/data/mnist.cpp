#include "core/data/mnist.h"

#include <fmt/format.h>
#include <zlib.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

namespace espalier::data {
namespace {

namespace fs = std::filesystem;
constexpr std::int64_t kClasses = 10;
constexpr const char* kTrain = "train";
constexpr const char* kTest = "t10k";

// The sets have the same shape, so only their content tells them apart: zlib's CRC-32 of the 10,000 test labels.
struct KnownSet {
  const char* name;
  std::uint32_t test_labels_crc;
};
constexpr std::array<KnownSet, 2> kKnownSets{{{"mnist", 0xee8604d9}, {"fashion-mnist", 0x242bc73f}}};

// The file's path, plain before compressed (as spelled by the mirrors); empty when neither is there.
fs::path find_file(const fs::path& folder, const std::string& role, const std::string& what) {
  const std::string name = role + "-" + what + "-ubyte";
  for (const std::string& candidate : {name, name + ".gz"}) {
    std::error_code ignored;
    if (fs::is_regular_file(folder / candidate, ignored)) return folder / candidate;
  }
  return {};
}

bool has_set(const fs::path& folder) {
  for (const char* role : {kTrain, kTest}) {
    if (find_file(folder, role, "images-idx3").empty() || find_file(folder, role, "labels-idx1").empty()) return false;
  }
  return true;
}

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value ? value : "";
}

// The known set that the folder's test labels belong to; empty for any other labels.
std::string identify(const fs::path& folder) {
  const std::vector<std::uint8_t> labels = read_idx(find_file(folder, kTest, "labels-idx1"), 1).bytes;
  const auto crc = std::uint32_t(crc32(0, labels.data(), uInt(labels.size())));
  for (const KnownSet& known : kKnownSets) {
    if (known.test_labels_crc == crc) return known.name;
  }
  return "";
}

fs::path locate(const std::string& set, const fs::path& directory) {
  std::vector<fs::path> places;
  if (!directory.empty()) {
    places = {directory};
  } else {
    const fs::path data = environment("ESPALIER_DATA");
    if (!data.empty()) places = {data / set, data};
    places.push_back(cache_directory(set));
  }
  std::string looked;
  fs::path free;  // where the set can be put without harm to another
  for (const fs::path& place : places) {
    std::string found;
    if (has_set(place)) {
      const std::string identity = identify(place);
      if (identity.empty() || identity == set) return place;
      found = " (which holds " + identity + ")";
    }
    if (found.empty() && free.empty()) free = place;
    looked += (looked.empty() ? "" : ", ") + place.string() + found;
  }
  throw DataError(
      fmt::format("{}: the files {{train,t10k}}-{{images-idx3,labels-idx1}}-ubyte (plain or .gz) are not all "
                  "in {}; get them with: apps/fetch_data.sh {} {}",
                  set, looked, set, (free.empty() ? cache_directory(set) : free).string()));
}

ImageBytes read_set(const fs::path& folder, const char* role) {
  const fs::path image_file = find_file(folder, role, "images-idx3"),
                 label_file = find_file(folder, role, "labels-idx1");
  IdxArray images = read_idx(image_file, 3), labels = read_idx(label_file, 1);
  if (images.extents[0] != labels.extents[0]) {
    throw DataError(fmt::format("{} has {} images, but {} has {} labels; they are not of one set: fetch both again",
                                image_file.string(), images.extents[0], label_file.string(), labels.extents[0]));
  }
  for (std::size_t i = 0; i < labels.bytes.size(); ++i) {
    if (labels.bytes[i] < kClasses) continue;
    throw DataError(fmt::format("{}: label {} is {}, the classes are 0 to {}; delete the file and fetch it again",
                                label_file.string(), i, labels.bytes[i], kClasses - 1));
  }
  return {images.extents[1], images.extents[2], std::move(images.bytes), std::move(labels.bytes)};
}

ImageData load(const std::string& set, const fs::path& directory, const Options& options) {
  const fs::path folder = locate(set, directory);
  const ImageBytes train = read_set(folder, kTrain), test = read_set(folder, kTest);
  if (train.height != test.height || train.width != test.width) {
    throw DataError(fmt::format("{}: training images are {} x {}, test images {} x {}; the files are not of one set",
                                folder.string(), train.height, train.width, test.height, test.width));
  }
  return image_data(set, train, test, kClasses, options);
}

}  // namespace

ImageData mnist(const fs::path& directory, const Options& options) { return load("mnist", directory, options); }

ImageData fashion_mnist(const fs::path& directory, const Options& options) {
  return load("fashion-mnist", directory, options);
}

fs::path cache_directory(const std::string& set) {
  const fs::path cache = environment("XDG_CACHE_HOME");
  return (cache.empty() ? fs::path(environment("HOME")) / ".cache" : cache) / "espalier" / set;
}

}  // namespace espalier::data
