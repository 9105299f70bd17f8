#include "pruning/object_cache.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "core/data/mnist.h"
#include "core/train/atomic_file.h"
#include "kernels/fnv.h"

namespace espalier::pruning {
namespace {

namespace fs = std::filesystem;

// First line of a file; then the key, then the object, both of the lengths told here.
std::string head_of(const std::string& key, const std::string& object) {
  kernels::Fnv1a hash;
  for (const std::string* part : {&key, &object}) {
    for (const char letter : *part) hash.add(static_cast<unsigned char>(letter));
  }
  return fmt::format("espalier object 1, {} and {} bytes, {:016x}\n", key.size(), object.size(), hash.value);
}

// Empty where the folder is this user's alone, or is not there yet.
std::string why_not_own(const fs::path& folder) {
  struct stat status {};
  if (stat(folder.c_str(), &status) != 0) return "";
  if (status.st_uid != geteuid()) return "it belongs to another user";
  return (status.st_mode & (S_IWGRP | S_IWOTH)) != 0 ? "others may write to it" : "";
}

}  // namespace

struct ObjectCache::State {
  fs::path folder;
  Warn warn;
  bool unusable = false;

  bool usable() {
    if (unusable) return false;
    const std::string reason = why_not_own(folder);
    if (!reason.empty()) refuse(fmt::format("{} is not used for compiled code: {}", folder.string(), reason));
    return !unusable;
  }
  void refuse(const std::string& text) {
    unusable = true;
    warn(text);
  }
};

ObjectCache::ObjectCache(fs::path folder, Warn warn) : state_(std::make_shared<State>()) {
  state_->folder = std::move(folder);
  state_->warn =
      warn ? std::move(warn) : [](const std::string& text) { fmt::print(stderr, "espalier: warning: {}\n", text); };
}

fs::path ObjectCache::file_of(const std::string& key) const {
  return state_->folder / fmt::format("{:016x}.object", kernels::fnv1a(key));
}

std::optional<std::string> ObjectCache::find(const std::string& key) const {
  if (!on() || !state_->usable()) return std::nullopt;
  std::ifstream stream(file_of(key), std::ios::binary);
  if (!stream) return std::nullopt;
  const std::string text(std::istreambuf_iterator<char>(stream), {});
  const std::size_t head = text.find('\n') + 1;
  if (head > 0 && text.size() >= head + key.size()) {
    std::string object = text.substr(head + key.size());
    if (text.compare(head, key.size(), key) == 0 && text.compare(0, head, head_of(key, object)) == 0) return object;
  }
  state_->warn(file_of(key).string() + " is damaged or of another source; compiling anew");
  return std::nullopt;
}

void ObjectCache::store(const std::string& key, const std::string& object) const {
  if (!on() || !state_->usable()) return;
  std::error_code ignored;
  fs::create_directories(state_->folder.parent_path(), ignored);
  mkdir(state_->folder.c_str(), S_IRWXU);  // its owner's alone from the start
  try {
    write_file_atomically(file_of(key), head_of(key, object) + key + object);
  } catch (const FileError& failure) {
    state_->refuse(std::string("compiled code is not kept: ") + failure.what());
  }
}

fs::path user_object_cache() { return data::cache_directory("compiled"); }

}  // namespace espalier::pruning
