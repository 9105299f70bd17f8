#include "core/train/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/train/atomic_file.h"
#include "kernels/require.h"

namespace espalier {
namespace {

using nlohmann::json;
constexpr std::size_t kLengthBytes = 8, kAlignment = 8;
constexpr const char* kMetadata = "__metadata__";

struct TypeName {
  DType type;
  const char* name;
};
constexpr std::array<TypeName, 9> kTypes{{{DType::f32, "F32"},
                                          {DType::f64, "F64"},
                                          {DType::i32, "I32"},
                                          {DType::i64, "I64"},
                                          {DType::u8, "U8"},
                                          {DType::u16, "U16"},
                                          {DType::u32, "U32"},
                                          {DType::f16, "F16"},
                                          {DType::bf16, "BF16"}}};

const char* name_of(DType type) {
  return std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeName& known) { return known.type == type; })->name;
}

class SafetensorsReader {
 public:
  explicit SafetensorsReader(const std::filesystem::path& file) : file_(file), bytes_(read_file(file)) {}
  Safetensors read() {
    const json header = read_header();
    Safetensors content;
    for (const auto& [name, entry] : header.items()) {
      if (name == kMetadata) {
        read_metadata(entry, content);
      } else {
        content.tensors.emplace(name, read_tensor(name, entry));
      }
    }
    check_coverage();
    return content;
  }

 private:
  struct Range {
    std::uint64_t begin, end;
    auto operator<=>(const Range&) const = default;
  };

  [[noreturn]] void fail(const std::string& why) const {
    throw CheckpointError(fmt::format("{}: {}", file_.string(), why));
  }

  json read_header() {
    if (bytes_.size() < kLengthBytes) fail(fmt::format("{} bytes are too few for a safetensors file", bytes_.size()));
    std::uint64_t length = 0;
    for (std::size_t i = kLengthBytes; i-- > 0;) length = length << 8 | std::uint64_t(bytes_[i]);
    const std::uint64_t available = bytes_.size() - kLengthBytes;
    if (length > available) {
      fail(
          fmt::format("the header is said to have {} bytes, the file goes on for {}; it is cut short or no safetensors "
                      "file",
                      length, available));
    }
    const char* const text = reinterpret_cast<const char*>(bytes_.data()) + kLengthBytes;
    json header = json::parse(text, text + length, nullptr, /*allow_exceptions=*/false);
    if (!header.is_object()) fail("the header is not a JSON object");
    data_ = kLengthBytes + std::size_t(length);
    return header;
  }

  void read_metadata(const json& entry, Safetensors& content) const {
    if (!entry.is_object()) fail("__metadata__ is not a JSON object");
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string()) fail(fmt::format("__metadata__.{} is not a string", key));
      content.metadata.emplace(key, value.get<std::string>());
    }
  }

  std::uint64_t number(const std::string& name, const json& value) const {
    if (!value.is_number_unsigned()) fail(fmt::format("{}: {} is not a size", name, value.dump()));
    return value.get<std::uint64_t>();
  }

  StoredTensor read_tensor(const std::string& name, const json& entry) {
    if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") || !entry.contains("data_offsets")) {
      fail(fmt::format("{}: the entry lacks dtype, shape or data_offsets", name));
    }
    StoredTensor tensor;
    const auto type =
        std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeName& known) { return entry["dtype"] == known.name; });
    if (type == kTypes.end()) fail(fmt::format("{}: type {} is not known here", name, entry["dtype"].dump()));
    tensor.type = type->type;
    tensor.shape = read_shape(name, entry["shape"]);
    const json& offsets = entry["data_offsets"];
    if (!offsets.is_array() || offsets.size() != 2) fail(fmt::format("{}: data_offsets is not a pair", name));
    const Range range{number(name, offsets[0]), number(name, offsets[1])};
    const std::uint64_t available = bytes_.size() - data_;
    if (range.begin > range.end || range.end > available) {
      fail(fmt::format("{}: bytes {} to {} of {} bytes of data; is the file cut short?", name, range.begin, range.end,
                       available));
    }
    const std::uint64_t expected = std::uint64_t(tensor.shape.size()) * size_of(tensor.type);
    if (range.end - range.begin != expected) {
      fail(fmt::format("{}: {} of {} needs {} bytes, the header gives it {}", name, tensor.shape.to_string(),
                       to_string(tensor.type), expected, range.end - range.begin));
    }
    const auto first = bytes_.begin() + std::ptrdiff_t(data_ + range.begin);
    tensor.bytes.assign(first, first + std::ptrdiff_t(expected));
    ranges_.push_back(range);
    return tensor;
  }

  Shape read_shape(const std::string& name, const json& value) const {
    if (!value.is_array()) fail(fmt::format("{}: the shape is not a list", name));
    std::vector<std::int64_t> extents;
    std::uint64_t size = 1;
    for (const json& extent : value) {
      const std::uint64_t one = number(name, extent);
      if (one == 0 || one > bytes_.size() / size) {
        fail(fmt::format("{}: shape {} does not fit in a file of {} bytes", name, value.dump(), bytes_.size()));
      }
      size *= one;
      extents.push_back(std::int64_t(one));
    }
    return Shape(std::move(extents));
  }

  void check_coverage() {  // each byte of data belongs to exactly one tensor
    std::sort(ranges_.begin(), ranges_.end());
    std::uint64_t covered = 0;
    for (const Range& range : ranges_) {
      if (range.begin != covered) fail(fmt::format("tensors overlap or leave a hole at byte {} of the data", covered));
      covered = range.end;
    }
    const std::uint64_t available = bytes_.size() - data_;
    if (covered != available) fail(fmt::format("{} bytes after the last tensor", available - covered));
  }

  std::filesystem::path file_;
  std::vector<std::byte> bytes_;
  std::size_t data_ = 0;  // where the header ends
  std::vector<Range> ranges_;
};

}  // namespace

std::vector<std::byte> read_file(const std::filesystem::path& file) {
  std::error_code unknown;  // opening it says what is wrong
  if (std::filesystem::is_directory(file, unknown)) {
    throw CheckpointError(fmt::format("{}: is a folder, not a file", file.string()));
  }
  std::ifstream in(file, std::ios::binary | std::ios::ate);
  if (!in) throw CheckpointError(fmt::format("{}: cannot be opened for reading; does it exist?", file.string()));
  std::vector<std::byte> bytes(std::size_t(std::max<std::streamoff>(in.tellg(), 0)));
  in.seekg(0).read(reinterpret_cast<char*>(bytes.data()), std::streamsize(bytes.size()));
  if (!in) throw CheckpointError(fmt::format("{}: cannot be read to its end", file.string()));
  return bytes;
}

std::vector<float> StoredTensor::floats() const {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

StoredTensor StoredTensor::of(const Tensor& tensor) { return {tensor.dtype(), tensor.shape(), tensor.to_host_bytes()}; }

void StoredTensor::upload_to(const Tensor& tensor) const {
  require(type == tensor.dtype() && shape == tensor.shape(), "a stored tensor ", shape.to_string(), " ",
          std::string(to_string(type)), " cannot be put into ", tensor.shape().to_string(), " ",
          std::string(to_string(tensor.dtype())));
  tensor.upload(bytes);
}

void write_safetensors(const std::filesystem::path& file, const Safetensors& content) {
  json header = json::object();
  if (!content.metadata.empty()) header[kMetadata] = content.metadata;
  std::uint64_t offset = 0;
  std::vector<std::span<const std::byte>> pieces(2);
  for (const auto& [name, tensor] : content.tensors) {
    const std::uint64_t end = offset + tensor.bytes.size();
    header[name] = {
        {"dtype", name_of(tensor.type)}, {"shape", tensor.shape.extents()}, {"data_offsets", {offset, end}}};
    offset = end;
    pieces.push_back(tensor.bytes);
  }
  std::string text = header.dump(-1, ' ', false, json::error_handler_t::replace);
  text.resize((text.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');  // so that the data is aligned
  std::array<std::byte, kLengthBytes> length{};
  for (std::size_t i = 0; i < kLengthBytes; ++i) length[i] = std::byte(text.size() >> (8 * i) & 0xFF);
  pieces[0] = length;
  pieces[1] = std::as_bytes(std::span(text));
  write_file_atomically(file, pieces);
}

Safetensors read_safetensors(const std::filesystem::path& file) { return SafetensorsReader(file).read(); }

}  // namespace espalier
