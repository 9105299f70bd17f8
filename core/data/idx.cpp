// zlib's gzread passes plain files through and checks length and CRC of compressed ones. The elements are read in
// pieces, so that a header that promises a terabyte fails at the end of the file, not in the allocator.
#include "core/data/idx.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <memory>
#include <string>

namespace espalier::data {
namespace {

constexpr std::uint8_t kUnsignedByte = 0x08;
constexpr std::size_t kPiece = std::size_t(1) << 20;
constexpr std::int64_t kMostElements = std::int64_t(1) << 40;

class GzipFile {
 public:
  explicit GzipFile(const std::filesystem::path& path) : path_(path), file_(gzopen(path.c_str(), "rb"), gzclose) {
    if (!file_) throw DataError(fmt::format("{}: cannot be opened for reading; does it exist?", path_.string()));
    gzbuffer(file_.get(), 1 << 17);
  }
  // As many of `count` bytes as the file still has.
  std::size_t read(std::uint8_t* to, std::size_t count) {
    const int got = gzread(file_.get(), to, unsigned(count));
    int status = Z_OK;
    const char* const reason = gzerror(file_.get(), &status);
    if (got < 0 || (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)) {
      fail(fmt::format("cannot be decompressed ({})", reason));
    }
    if (status == Z_BUF_ERROR) fail("ends in the middle of its gzip stream");
    return std::size_t(got);
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw DataError(fmt::format("{}: {}; delete the file and fetch it again", path_.string(), what));
  }

 private:
  std::filesystem::path path_;
  std::unique_ptr<gzFile_s, int (*)(gzFile)> file_;
};

std::vector<std::int64_t> read_extents(GzipFile& file, int rank) {
  std::array<std::uint8_t, 4> word{};
  if (file.read(word.data(), 4) < 4) file.fail("is shorter than an IDX header");
  if (word[0] != 0 || word[1] != 0 || word[2] != kUnsignedByte || word[3] != rank) {
    file.fail(
        fmt::format("starts with {:02x} {:02x} {:02x} {:02x}, an IDX file of bytes with {} axes with 00 00 08 {:02x}",
                    word[0], word[1], word[2], word[3], rank, rank));
  }
  std::vector<std::int64_t> extents;
  std::int64_t elements = 1;
  for (int axis = 0; axis < rank; ++axis) {
    if (file.read(word.data(), 4) < 4) file.fail("is shorter than an IDX header");
    extents.push_back(std::int64_t(word[0]) << 24 | word[1] << 16 | word[2] << 8 | word[3]);
    if (extents.back() == 0) file.fail(fmt::format("says that axis {} has no elements", axis));
    if (extents.back() > kMostElements / elements) file.fail("says that it has more than 2^40 elements");
    elements *= extents.back();
  }
  return extents;
}

}  // namespace

IdxArray read_idx(const std::filesystem::path& path, int rank) {
  GzipFile file(path);
  IdxArray array;
  array.extents = read_extents(file, rank);
  std::size_t expected = 1, have = 0;
  for (const std::int64_t extent : array.extents) expected *= std::size_t(extent);
  while (have < expected) {
    const std::size_t piece = std::min(kPiece, expected - have);
    array.bytes.resize(have + piece);
    const std::size_t got = file.read(array.bytes.data() + have, piece);
    have += got;
    if (got < piece) file.fail(fmt::format("is truncated: {} of {} elements are there", have, expected));
  }
  std::uint8_t trailing = 0;
  if (file.read(&trailing, 1) != 0) file.fail(fmt::format("goes on after its {} elements", expected));
  return array;
}

void write_idx(const std::filesystem::path& file, const std::vector<std::int64_t>& extents,
               std::span<const std::uint8_t> bytes) {
  std::string header{char(0), char(0), char(kUnsignedByte), char(extents.size())};
  for (const std::int64_t extent : extents) {
    for (int shift = 24; shift >= 0; shift -= 8) header.push_back(char(extent >> shift & 0xFF));
  }
  std::ofstream out(file, std::ios::binary);
  out.write(header.data(), std::streamsize(header.size()));
  out.write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
  if (!out.flush()) throw DataError(fmt::format("{}: cannot be written; is the disk full?", file.string()));
}

}  // namespace espalier::data
