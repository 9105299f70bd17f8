// The container: exact round trips, damage of every kind refused with a reason, and the old file safe from a failed
// write.
#include "core/train/safetensors.h"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "core/train/atomic_file.h"
#include "kernels/require.h"
#include "tests/support/close.h"
#include "tests/support/temporary_folder.h"

using namespace espalier;
using espalier::test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

std::string content(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

void store(const std::filesystem::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary).write(bytes.data(), std::streamsize(bytes.size()));
}

std::string with_header(const std::string& header, const std::string& data) {
  std::string bytes(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) bytes[i] = char(header.size() >> (8 * i) & 0xFF);
  return bytes + header + data;
}

StoredTensor stored(DType type, Shape shape, unsigned seed) {
  std::mt19937 engine(seed);
  StoredTensor tensor{type, std::move(shape), {}};
  tensor.bytes.resize(std::size_t(tensor.shape.size()) * size_of(type));
  for (auto& byte : tensor.bytes) byte = std::byte(engine() >> 7);
  return tensor;
}

Safetensors example() {
  Safetensors example;
  example.tensors = {{"dense_1.weight", stored(DType::f32, {3, 5}, 1)},
                     {"mask/dense_1.weight", stored(DType::u8, {3, 5}, 2)},
                     {"counter", stored(DType::i64, {1}, 3)},
                     {"scalar", stored(DType::f64, {}, 4)}};
  example.metadata = {{"note", "quotes \" and\nlines and ümlauts"}, {"empty", ""}};
  return example;
}

std::string error_of(const std::filesystem::path& file) {
  try {
    read_safetensors(file);
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("safetensors: every type and random shapes come back bit for bit") {
  const TemporaryFolder folder;
  std::mt19937 engine(7);
  for (unsigned round = 0; round < 20; ++round) {
    Safetensors file;
    for (const DType type :
         {DType::f32, DType::f64, DType::i32, DType::i64, DType::u8, DType::u16, DType::u32, DType::f16, DType::bf16}) {
      std::vector<std::int64_t> extents(engine() % 5);
      for (auto& extent : extents) extent = 1 + engine() % 6;
      file.tensors["tensor " + std::to_string(engine())] = stored(type, Shape(extents), round);
    }
    if (round % 2 == 0) file.metadata["round"] = std::to_string(round);
    write_safetensors(folder / "file", file);
    CHECK(read_safetensors(folder / "file") == file);
    CHECK(content(folder / "file").find('{') == 8);
  }
  write_safetensors(folder / "nothing", {});
  CHECK(read_safetensors(folder / "nothing") == Safetensors{});
}

TEST_CASE("safetensors: device tensors are stored and put back with type and shape checked") {
  const auto values = test::random_floats(12, 5);
  const Tensor tensor = Tensor::from({3, 4}, values), other = Tensor::zeros({3, 4});
  const StoredTensor copy = StoredTensor::of(tensor);
  copy.upload_to(other);
  CHECK(other.to_host() == values);
  CHECK_THROWS_WITH_AS(copy.upload_to(Tensor::zeros({4, 3})), doctest::Contains("[4, 3]"), InvalidArgument);
  CHECK_THROWS_WITH_AS(copy.upload_to(Tensor::zeros({3, 4}, DType::i32)), doctest::Contains("i32"), InvalidArgument);
}

TEST_CASE("safetensors: cut anywhere, the file is refused by name") {
  const TemporaryFolder folder;
  write_safetensors(folder / "whole", example());
  const std::string whole = content(folder / "whole");
  for (std::size_t length = 0; length < whole.size(); ++length) {
    store(folder / "cut", whole.substr(0, length));
    CAPTURE(length);
    CHECK(error_of(folder / "cut").find((folder / "cut").string()) == 0);
  }
  store(folder / "longer", whole + "x");
  CHECK(error_of(folder / "longer").find("1 bytes after the last tensor") != std::string::npos);
  CHECK(error_of(folder / "absent").find("cannot be opened") != std::string::npos);
}

TEST_CASE("safetensors: a changed byte is refused or read, but never out of bounds") {
  const TemporaryFolder folder;
  write_safetensors(folder / "whole", example());
  const std::string whole = content(folder / "whole");
  std::mt19937 engine(11);
  int refused = 0;
  for (int round = 0; round < 500; ++round) {
    std::string changed = whole;
    for (unsigned flips = 1 + engine() % 3; flips > 0; --flips) changed[engine() % whole.size()] = char(engine() >> 5);
    store(folder / "changed", changed);
    try {
      for (const auto& [name, tensor] : read_safetensors(folder / "changed").tensors) {
        CHECK(tensor.bytes.size() == std::size_t(tensor.shape.size()) * size_of(tensor.type));
      }
    } catch (const CheckpointError&) {
      ++refused;
    }
  }
  CHECK(refused > 150);
}

TEST_CASE("safetensors: each lie of a header has its own answer") {
  const TemporaryFolder folder;
  const auto answer = [&](const std::string& header, const std::string& data = "12345678") {
    store(folder / "file", with_header(header, data));
    return error_of(folder / "file");
  };
  const auto says = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  CHECK(answer(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})") == "");
  CHECK(says(answer("[]"), "not a JSON object"));
  CHECK(says(answer("{\"a\":"), "not a JSON object"));
  CHECK(says(answer(R"({"a":{"shape":[2],"data_offsets":[0,8]}})"), "lacks dtype"));
  CHECK(says(answer(R"({"a":{"dtype":"Q7","shape":[2],"data_offsets":[0,8]}})"), "Q7"));
  CHECK(says(answer(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})"), "needs 12 bytes"));
  CHECK(says(answer(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}})"), "needs 4 bytes"));
  CHECK(says(answer(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,16]}})"), "cut short"));
  CHECK(says(answer(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})"), "bytes 8 to 0"));
  CHECK(says(answer(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})"), "-2 is not a size"));
  CHECK(says(answer(R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[0,8]}})"), "does not fit"));
  CHECK(says(answer(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}})"), "does not fit"));
  CHECK(says(answer(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}})"), "not a pair"));
  CHECK(says(answer(R"({"a":{"dtype":"F32","shape":2,"data_offsets":[0,8]}})"), "not a list"));
  CHECK(says(answer(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})"), "4 bytes after"));
  CHECK(says(answer(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})"), "hole at byte 0"));
  CHECK(says(answer(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                    R"("b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})"),
             "overlap"));
  CHECK(says(answer(R"({"__metadata__":{"a":1}})"), "not a string"));
  CHECK(says(answer(R"({"__metadata__":7})"), "not a JSON object"));
  CHECK(says(answer(std::string(100000, '[')), "not a JSON object"));
  store(folder / "file", std::string(8, char(0xFF)) + "{}");
  CHECK(says(error_of(folder / "file"), "18446744073709551615 bytes"));
}

TEST_CASE("atomic file: a device is written to and stays one, a link stays a link, a folder is refused by name") {
  const TemporaryFolder folder;
  const auto device = [](const fs::path& path) { return fs::is_character_file(path); };
  REQUIRE(device("/dev/null"));
  fs::create_symlink("/dev/null", folder / "null");  // a rename would only cost this link
  write_file_atomically(folder / "null", "text");
  CHECK(device(folder / "null"));
  fs::create_symlink("/dev/full", folder / "full");
  CHECK_THROWS_WITH_AS(write_file_atomically(folder / "full", "text"), doctest::Contains("No space left"), FileError);
  CHECK(device(folder / "full"));

  write_file_atomically(folder / "file", "old");
  fs::create_symlink(folder / "file", folder / "link");
  write_file_atomically(folder / "link", "new text");
  CHECK(fs::is_symlink(folder / "link"));
  CHECK(fs::file_size(folder / "file") == 8);
  CHECK_THROWS_WITH_AS(write_file_atomically(folder.path(), "text"), doctest::Contains("is a folder"), FileError);
  CHECK_THROWS_WITH_AS(read_file(folder.path()), doctest::Contains("is a folder"), CheckpointError);
}

TEST_CASE("atomic file: a write that fails half-way leaves the old file and no other") {
  const TemporaryFolder folder;
  write_safetensors(folder / "file", example());
  const std::string before = content(folder / "file");
  Safetensors large = example();
  large.tensors["large"] = stored(DType::f32, {1 << 16}, 9);
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{64 * 1024, old.rlim_max};  // like a disk that fills up: a short write, then an error
  setrlimit(RLIMIT_FSIZE, &small);
  CHECK_THROWS_WITH_AS(write_safetensors(folder / "file", large), doctest::Contains("unchanged"), FileError);
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  CHECK(content(folder / "file") == before);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
  CHECK_THROWS_AS(write_file_atomically(folder / "no/such/file", "text"), FileError);
  write_file_atomically(folder / "file", "text");
  CHECK(content(folder / "file") == "text");
}
