#include "core/train/compressed_file.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/train/atomic_file.h"
#include "core/train/compressed/section.h"
#include "kernels/require.h"

namespace espalier {
namespace {

using Bytes = std::vector<std::byte>;
constexpr std::string_view kMagic = "ESPALIER";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 20, kSectionHeadBytes = 8;
constexpr std::uint32_t kMostMetadataBytes = 1u << 28;

std::uint32_t checksum(std::span<const std::byte> first, std::span<const std::byte> second = {}) {
  const auto add = [](uLong sum, std::span<const std::byte> bytes) {
    return crc32_z(sum, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
  };
  const uLong sum = add(crc32_z(0, nullptr, 0), first);
  return std::uint32_t(second.empty() ? sum : add(sum, second));
}

void put_u32(std::uint32_t value, Bytes& out) {
  for (int shift = 0; shift < 32; shift += 8) out.push_back(std::byte(value >> shift & 0xFF));
}

std::uint32_t u32_at(std::span<const std::byte> bytes, std::size_t place) {
  std::uint32_t value = 0;
  for (std::size_t i = 4; i-- > 0;) value = value << 8 | std::uint32_t(bytes[place + i]);
  return value;
}

Bytes header(std::uint32_t sections) {
  Bytes bytes;
  for (const char letter : kMagic) bytes.push_back(std::byte(letter));
  put_u32(kVersion, bytes);
  put_u32(sections, bytes);
  put_u32(checksum(bytes), bytes);
  return bytes;
}

Bytes section_head(std::span<const std::byte> body, const std::string& name) {
  require(body.size() <= UINT32_MAX, "compressed file: ", name, " takes ", body.size(),
          " bytes, a section may have 4 GiB; save a checkpoint instead");
  Bytes head;
  put_u32(std::uint32_t(body.size()), head);
  put_u32(checksum(head, body), head);
  return head;
}

// The text's length, then the text.
Bytes deflated(const std::string& text) {
  Bytes bytes;
  put_u32(std::uint32_t(text.size()), bytes);
  const std::size_t head = bytes.size();
  uLongf size = compressBound(uLong(text.size()));
  bytes.resize(head + size);
  const int status = compress2(reinterpret_cast<Bytef*>(bytes.data() + head), &size,
                               reinterpret_cast<const Bytef*>(text.data()), uLong(text.size()), Z_BEST_COMPRESSION);
  require(status == Z_OK, "compressed file: zlib refused the metadata with status ", status);
  bytes.resize(head + size);
  return bytes;
}

std::map<std::string, std::string> metadata_from(std::span<const std::byte> body) {
  if (body.size() < 4 || u32_at(body, 0) > kMostMetadataBytes) throw CheckpointError("this is no metadata");
  std::string text(u32_at(body, 0), '\0');
  uLongf size = uLong(text.size());
  const int status = uncompress(reinterpret_cast<Bytef*>(text.data()), &size,
                                reinterpret_cast<const Bytef*>(body.data() + 4), uLong(body.size() - 4));
  if (status != Z_OK || size != text.size()) throw CheckpointError("the metadata cannot be unpacked");
  try {
    return nlohmann::json::parse(text).get<std::map<std::string, std::string>>();
  } catch (const nlohmann::json::exception& error) {
    throw CheckpointError(fmt::format("the metadata cannot be used: {}", error.what()));
  }
}

struct CompressedFile {
  Safetensors content;
  std::vector<StoredLayer> layers;
};

class CompressedReader {
 public:
  CompressedReader(const std::filesystem::path& file, Bytes bytes) : file_(file), bytes_(std::move(bytes)) {}

  CompressedFile read() {
    const std::uint32_t sections = read_header();
    CompressedFile read;
    for (section_ = 1; section_ <= sections; ++section_) {
      const std::span<const std::byte> body = next_section(sections);
      try {
        section_ == 1 ? void(read.content.metadata = metadata_from(body)) : add(compressed::decode(body), read);
      } catch (const CheckpointError& error) {
        fail(sections, std::size_t(body.data() - bytes_.data()), error.what());
      }
    }
    if (next_ != bytes_.size()) fail(sections, next_, fmt::format("{} bytes too many", bytes_.size() - next_));
    return read;
  }

 private:
  [[noreturn]] void fail(std::uint32_t sections, std::size_t place, const std::string& why) const {
    const std::string part = section_ == 0         ? "header"
                             : section_ > sections ? "after the last section"
                                                   : fmt::format("section {} of {}", section_, sections);
    throw CheckpointError(fmt::format("{}: {}, byte {}: {}", file_.string(), part, place, why));
  }

  std::uint32_t read_header() {
    if (bytes_.size() < kHeaderBytes) {
      fail(0, bytes_.size(), fmt::format("the file ends here, the header has {} bytes; it is cut short", kHeaderBytes));
    }
    const std::span<const std::byte> head(bytes_.data(), kHeaderBytes);
    if (u32_at(head, 8) != kVersion) {
      fail(0, 8, fmt::format("version {}, this program reads {}; or the file is damaged", u32_at(head, 8), kVersion));
    }
    if (checksum(head.first(kHeaderBytes - 4)) != u32_at(head, kHeaderBytes - 4)) {
      fail(0, 0, "its checksum is wrong; the file is damaged");
    }
    if (u32_at(head, 12) == 0) fail(0, 12, "no section, not even metadata");
    next_ = kHeaderBytes;
    return u32_at(head, 12);
  }

  std::span<const std::byte> next_section(std::uint32_t sections) {
    const std::size_t left = bytes_.size() - next_;
    if (left < kSectionHeadBytes) fail(sections, bytes_.size(), "the file ends here; it is cut short");
    const std::size_t size = u32_at(bytes_, next_), begin = next_ + kSectionHeadBytes;
    if (size > bytes_.size() - begin) {
      fail(sections, next_,
           fmt::format("{} bytes are said to follow, the file has {}; it is cut short or damaged", size,
                       bytes_.size() - begin));
    }
    const std::span<const std::byte> all(bytes_), body = all.subspan(begin, size);
    if (checksum(all.subspan(next_, 4), body) != u32_at(bytes_, next_ + 4)) {
      fail(sections, next_, "its checksum is wrong; the file is damaged");
    }
    next_ = begin + size;
    return body;
  }

  void add(compressed::Section section, CompressedFile& read) const {
    section.report.bytes += std::int64_t(kSectionHeadBytes);
    read.layers.push_back(std::move(section.report));
    if (section.mask) read.content.tensors.emplace(kMaskPrefix + section.name, std::move(*section.mask));
    if (!read.content.tensors.emplace(section.name, std::move(section.tensor)).second) {
      throw CheckpointError(fmt::format("a second tensor {}", section.name));
    }
  }

  std::filesystem::path file_;
  Bytes bytes_;
  std::size_t next_ = 0;
  std::uint32_t section_ = 0;  // 0: the header
};

// Of a file that was cut within the first word, too.
bool is_compressed(const std::filesystem::path& file) {
  std::array<char, kMagic.size()> first{};
  std::ifstream in(file, std::ios::binary);
  in.read(first.data(), std::streamsize(first.size()));
  const auto count = std::size_t(in.gcount());
  return count > 0 && std::string_view(first.data(), count) == kMagic.substr(0, count);
}

std::vector<StoredLayer> layers_of(const Safetensors& content) {
  std::vector<StoredLayer> layers;
  for (const auto& [name, tensor] : content.tensors) {
    if (name.starts_with(kMaskPrefix)) continue;
    StoredLayer layer{.name = name,
                      .shape = tensor.shape,
                      .kept = tensor.shape.size(),
                      .layout = "dense",
                      .values = std::string(to_string(tensor.type))};
    layer.bytes = layer.dense_bytes = std::int64_t(tensor.bytes.size());
    if (const auto mask = content.tensors.find(kMaskPrefix + name); mask != content.tensors.end()) {
      layer.kept -= std::count(mask->second.bytes.begin(), mask->second.bytes.end(), std::byte(0));
      layer.layout = "dense and mask";
      layer.bytes += std::int64_t(mask->second.bytes.size());
    }
    layers.push_back(std::move(layer));
  }
  return layers;
}

}  // namespace

void write_compressed(const std::filesystem::path& file, const Safetensors& content, const Compression& compression) {
  require(compression.bits >= 1 && compression.bits <= Compression::kMostBits, "compressed file: shared values of ",
          compression.bits, " bits; choose 1 to ", Compression::kMostBits);
  std::vector<Bytes> parts{{}};  // the header comes when the sections are counted
  const auto add = [&](const std::string& name, Bytes body) {
    parts.push_back(section_head(body, name));
    parts.push_back(std::move(body));
  };
  const auto replace = nlohmann::json::error_handler_t::replace;  // of what is no UTF-8
  add("metadata", deflated(nlohmann::json(content.metadata).dump(-1, ' ', false, replace)));
  for (const auto& [name, tensor] : content.tensors) {
    if (name.starts_with(kMaskPrefix)) {
      require(content.tensors.contains(name.substr(std::string_view(kMaskPrefix).size())), "compressed file: ", name,
              " is the mask of no tensor");
      continue;
    }
    const auto found = content.tensors.find(kMaskPrefix + name);
    const StoredTensor* mask = found == content.tensors.end() ? nullptr : &found->second;
    require(!mask || (tensor.type == DType::f32 && mask->type == DType::u8 && mask->shape == tensor.shape),
            "compressed file: the mask of ", name, " has another shape, or one of them another type");
    add(name, compressed::encode(name, tensor, mask, compression));
  }
  parts.front() = header(std::uint32_t(parts.size() / 2));
  write_file_atomically(file, std::vector<std::span<const std::byte>>(parts.begin(), parts.end()));
}

Safetensors read_tensors(const std::filesystem::path& file) {
  return is_compressed(file) ? CompressedReader(file, read_file(file)).read().content : read_safetensors(file);
}

std::vector<StoredLayer> stored_layers(const std::filesystem::path& file) {
  if (!is_compressed(file)) return layers_of(read_safetensors(file));
  return CompressedReader(file, read_file(file)).read().layers;
}

}  // namespace espalier
