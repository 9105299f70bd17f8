// Writing a file so that its name always leads to a whole one: the bytes go to a temporary file in the same folder, are
// forced to the disk and only then take the name. A full disk, a crash or a kill leaves the old file as it was.
// A device or a pipe is written to as it is; a symbolic link stays, and what it leads to is replaced.
#pragma once
#include <cstddef>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string_view>
#include <vector>

namespace espalier {

struct FileError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Throws FileError with the system's reason; the temporary file is then gone.
void write_file_atomically(const std::filesystem::path& file, const std::vector<std::span<const std::byte>>& pieces);
void write_file_atomically(const std::filesystem::path& file, std::string_view text);

// For a result that takes long: throws at once the FileError of write_file_atomically() where no file can be created
// beside the one named, or that is a folder. Touches no file that is there, asks no device; an empty name is none.
void require_writable(const std::filesystem::path& file);

}  // namespace espalier
