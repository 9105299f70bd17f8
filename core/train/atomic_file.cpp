#include "core/train/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

namespace espalier {
namespace {

// Writes to what has no content to keep: a device or a pipe.
void write_through(const std::filesystem::path& target, const std::vector<std::span<const std::byte>>& pieces) {
  std::FILE* const stream = std::fopen(target.c_str(), "wb");
  bool whole = stream != nullptr;
  for (const auto& piece : pieces) {
    whole = whole && std::fwrite(piece.data(), 1, piece.size(), stream) == piece.size();
  }
  const bool closed = stream && std::fclose(stream) == 0;
  if (!whole || !closed) {
    throw FileError(fmt::format("{}: cannot be written ({})", target.string(), std::strerror(errno)));
  }
}

// The file that a link leads to, so that the link stays.
std::filesystem::path behind_links(const std::filesystem::path& file) {
  std::error_code dangling;
  const std::filesystem::path real = std::filesystem::canonical(file, dangling);
  return dangling ? file : real;
}

// Throws for a folder.
bool is_device_or_pipe(const std::filesystem::path& file) {
  std::error_code unknown;  // what cannot be looked at cannot be written either, which says so itself
  const std::filesystem::file_status status = std::filesystem::status(file, unknown);
  if (std::filesystem::is_directory(status)) {
    throw FileError(fmt::format("{}: is a folder; name a file in it", file.string()));
  }
  return !unknown && std::filesystem::exists(status) && !std::filesystem::is_regular_file(status);
}

class TemporaryFile {
 public:
  explicit TemporaryFile(const std::filesystem::path& target)
      : target_(target), name_(fmt::format("{}.partial-{}", target.string(), getpid())) {
    descriptor_ = open(name_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (descriptor_ < 0) fail("cannot be created");
  }
  ~TemporaryFile() {
    if (descriptor_ >= 0) close(descriptor_);
    if (!renamed_) unlink(name_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) fail("cannot be written");
      bytes = bytes.subspan(std::size_t(written));
    }
  }
  void take_name() {
    if (fsync(descriptor_) != 0) fail("cannot be forced to the disk");
    const int status = close(descriptor_);
    descriptor_ = -1;
    if (status != 0) fail("cannot be closed");
    if (rename(name_.c_str(), target_.c_str()) != 0) fail("cannot be put in place");
    renamed_ = true;
    const std::filesystem::path folder = target_.has_parent_path() ? target_.parent_path() : ".";
    const int directory = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) return;  // the file is whole; only the name may be lost in a power failure
    fsync(directory);
    close(directory);
  }

 private:
  [[noreturn]] void fail(const char* what) const {
    throw FileError(
        fmt::format("{}: {} ({}); what was there before is unchanged", target_.string(), what, std::strerror(errno)));
  }
  std::filesystem::path target_;
  std::string name_;
  int descriptor_ = -1;
  bool renamed_ = false;
};

}  // namespace

void write_file_atomically(const std::filesystem::path& file, const std::vector<std::span<const std::byte>>& pieces) {
  const std::filesystem::path target = behind_links(file);
  if (is_device_or_pipe(file)) return write_through(target, pieces);  // a rename would put a file in its place
  TemporaryFile temporary(target);
  for (const auto& piece : pieces) temporary.write(piece);
  temporary.take_name();
}

void require_writable(const std::filesystem::path& file) {
  if (!file.empty() && !is_device_or_pipe(file)) TemporaryFile created_and_gone(behind_links(file));
}

void write_file_atomically(const std::filesystem::path& file, std::string_view text) {
  write_file_atomically(file, {std::as_bytes(std::span(text))});
}

}  // namespace espalier
