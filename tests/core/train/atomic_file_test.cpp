// Files that are written whole or not at all: what is refused beforehand.
#include "core/train/atomic_file.h"

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "tests/support/temporary_folder.h"

using namespace espalier;

TEST_CASE("atomic file: whether a file can be written is asked without touching it") {
  const test::TemporaryFolder folder;
  const std::filesystem::path file = folder.path() / "result";
  require_writable({});  // none is wanted
  require_writable(file);
  CHECK(std::filesystem::is_empty(folder.path()));
  write_file_atomically(file, "good");
  require_writable(file);
  std::ifstream stream(file);
  CHECK(std::string(std::istreambuf_iterator<char>(stream), {}) == "good");
  require_writable("/dev/null");
  CHECK_THROWS_AS(require_writable(folder.path()), FileError);
  CHECK_THROWS_AS(require_writable(folder.path() / "no/such"), FileError);
  CHECK_THROWS_AS(require_writable(file / "below"), FileError);
}
