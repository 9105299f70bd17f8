// IDX files: what was written is read back, and every way a file can be wrong has its own words.
#include "core/data/idx.h"

#include <doctest/doctest.h>
#include <zlib.h>

#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "tests/support/temporary_folder.h"

using namespace espalier;
using espalier::test::TemporaryFolder;

namespace {

std::string content(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

void store(const std::filesystem::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary).write(bytes.data(), std::streamsize(bytes.size()));
}

void store_compressed(const std::filesystem::path& file, const std::string& bytes) {
  const gzFile out = gzopen(file.c_str(), "wb");
  gzwrite(out, bytes.data(), unsigned(bytes.size()));
  gzclose(out);
}

std::vector<std::uint8_t> some_bytes(std::size_t count, unsigned seed) {
  std::mt19937 engine(seed);
  std::vector<std::uint8_t> bytes(count);
  for (auto& byte : bytes) byte = std::uint8_t(engine() >> 11);
  return bytes;
}

std::string error_of(const std::filesystem::path& file, int rank) {
  try {
    data::read_idx(file, rank);
  } catch (const data::DataError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("idx: arrays of every rank come back, plain and compressed") {
  const TemporaryFolder folder;
  for (const std::vector<std::int64_t>& extents :
       {std::vector<std::int64_t>{1}, {7}, {3, 5}, {4, 1, 9}, {11, 13, 17}, {2, 3, 5, 7}}) {
    std::size_t count = 1;
    for (const auto extent : extents) count *= std::size_t(extent);
    const auto bytes = some_bytes(count, unsigned(count));
    data::write_idx(folder / "plain", extents, bytes);
    store_compressed(folder / "packed.gz", content(folder / "plain"));
    for (const char* name : {"plain", "packed.gz"}) {
      const data::IdxArray array = data::read_idx(folder / name, int(extents.size()));
      CHECK(array.extents == extents);
      CHECK(array.bytes == bytes);
    }
  }
}

TEST_CASE("idx: each damage is named with the file and the fix") {
  const TemporaryFolder folder;
  data::write_idx(folder / "good", {3, 4, 5}, some_bytes(60, 1));
  const std::string good = content(folder / "good");
  const auto damaged = [&](const std::string& bytes, int rank = 3) {
    store(folder / "bad", bytes);
    const std::string error = error_of(folder / "bad", rank);
    CHECK(error.find((folder / "bad").string()) != std::string::npos);
    CHECK(error.find("fetch it again") != std::string::npos);
    return error;
  };
  const auto contains = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  CHECK(contains(damaged(good.substr(0, good.size() - 1)), "truncated: 59 of 60 elements"));
  CHECK(contains(damaged(good + "x"), "goes on after its 60 elements"));
  CHECK(contains(damaged(good, 1), "starts with 00 00 08 03"));
  CHECK(contains(damaged(""), "shorter than an IDX header"));
  CHECK(contains(damaged(good.substr(0, 9)), "shorter than an IDX header"));
  std::string floats = good, empty = good, endless = good, large = good;
  floats[2] = 0x0D;
  CHECK(contains(damaged(floats), "00 00 0d 03"));
  empty[7] = 0;
  CHECK(contains(damaged(empty), "axis 0 has no elements"));
  for (const int at : {4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}) endless[std::size_t(at)] = char(0xFF);
  CHECK(contains(damaged(endless), "more than 2^40"));
  large[5] = 0x7F;  // a promise of 166 million elements costs nothing but the read
  CHECK(contains(damaged(large), "truncated: 60 of"));
  CHECK(contains(error_of(folder / "absent", 3), "cannot be opened"));
}

TEST_CASE("idx: a compressed file cut anywhere is refused; one changed anywhere never gives other bytes") {
  const TemporaryFolder folder;
  data::write_idx(folder / "good", {3, 4, 5}, some_bytes(60, 2));
  store_compressed(folder / "good.gz", content(folder / "good"));
  const std::string packed = content(folder / "good.gz");
  for (std::size_t length = 0; length < packed.size(); ++length) {
    store(folder / "cut.gz", packed.substr(0, length));
    CAPTURE(length);
    CHECK(error_of(folder / "cut.gz", 3) != "");
  }
  for (std::size_t at = 10; at < packed.size(); ++at) {  // the first ten bytes hold a time stamp and flags
    std::string changed = packed;
    changed[at] = char(changed[at] ^ 0x10);
    store(folder / "changed.gz", changed);
    CAPTURE(at);
    if (error_of(folder / "changed.gz", 3) != "") continue;  // else the bits between the stream and its CRC
    CHECK(data::read_idx(folder / "changed.gz", 3).bytes == some_bytes(60, 2));
  }
}

TEST_CASE("idx: a file that cannot be written is reported") {
  const TemporaryFolder folder;
  const std::vector<std::uint8_t> bytes{1, 2, 3};
  CHECK_THROWS_AS(data::write_idx(folder / "no/such/folder", {3}, bytes), data::DataError);
}
