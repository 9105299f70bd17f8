#include "core/train/compressed/section.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "core/train/compressed/huffman.h"
#include "core/train/compressed/quantise.h"

namespace espalier::compressed {
namespace {

constexpr std::uint64_t kMostNameBytes = 4096, kMostAxes = 16, kMostElements = std::uint64_t(1) << 30;
constexpr int kTypeBits = 4, kValuesBits = 2;
constexpr std::uint64_t kTypes = std::uint64_t(DType::bf16) + 1;

void write_codes(std::span<const std::uint32_t> codes, std::size_t alphabet, bool huffman, BitWriter& out) {
  const int bits = int(std::bit_width(alphabet - 1));
  BitWriter packed, coded;
  for (const std::uint32_t one : codes) packed.put(one, bits);
  if (huffman) {
    const HuffmanCode code = HuffmanCode::of(histogram(codes, alphabet));
    code.write(coded);
    for (const std::uint32_t one : codes) code.put(one, coded);
  }
  const bool shorter = huffman && coded.bits() < packed.bits();
  out.put(shorter, 1);
  out.append(shorter ? coded : packed);
}

// take(code) for each of `count` codes; returns whether they were Huffman-coded.
template <class Take>
bool read_codes(std::int64_t count, std::size_t alphabet, BitReader& in, const Take& take) {
  const auto checked = [&](std::uint64_t code) {
    if (code >= alphabet) throw CheckpointError("a value has a code that stands for nothing");
    take(std::uint32_t(code));
  };
  const bool huffman = in.take(1) == 1;
  if (huffman) {
    const HuffmanCode code = HuffmanCode::read(in);
    for (std::int64_t i = 0; i < count; ++i) checked(code.take(in));
  } else {
    const int bits = int(std::bit_width(alphabet - 1));
    for (std::int64_t i = 0; i < count; ++i) checked(in.take(bits));
  }
  return huffman;
}

void write_values(std::span<const float> kept, const Compression& compression, bool quantise, BitWriter& out) {
  const bool finite = std::all_of(kept.begin(), kept.end(), [](float value) { return std::isfinite(value); });
  const ValueCoding coding = quantise && finite && !kept.empty() ? compression.values : ValueCoding::exact;
  out.put(std::uint64_t(coding), kValuesBits);
  if (coding == ValueCoding::exact) {
    for (const float value : kept) out.put_float(value);
  } else if (coding == ValueCoding::int8) {
    const ScaledValues scaled = scaled_to_int8(kept);
    out.put_float(scaled.scale);
    write_codes(scaled.codes, ScaledValues::kCodes, compression.huffman, out);
  } else {
    const SharedValues shared = kmeans(kept, compression.bits);
    out.put_number(shared.codebook.size());
    for (const float value : shared.codebook) out.put_float(value);
    write_codes(shared.codes, shared.codebook.size(), compression.huffman, out);
  }
}

// The kept values in order, and how they were written.
std::vector<float> read_values(std::int64_t count, BitReader& in, std::string& how) {
  std::vector<float> values;
  values.reserve(std::size_t(std::min(count, in.left())));
  bool huffman = false;
  const auto coding = ValueCoding(in.take(kValuesBits));
  if (coding == ValueCoding::exact) {
    how = "fp32";
    for (std::int64_t i = 0; i < count; ++i) values.push_back(in.take_float());
  } else if (coding == ValueCoding::int8) {
    how = "int8";
    const float scale = in.take_float();
    huffman = read_codes(count, ScaledValues::kCodes, in,
                         [&](std::uint32_t code) { values.push_back(ScaledValues::value(code, scale)); });
  } else if (coding == ValueCoding::kmeans) {
    std::vector<float> codebook(in.take_number(std::uint64_t(1) << Compression::kMostBits, "shared values"));
    if (codebook.empty()) throw CheckpointError("it shares no values");
    for (float& value : codebook) value = in.take_float();
    how = fmt::format("{} shared", codebook.size());
    huffman = read_codes(count, codebook.size(), in, [&](std::uint32_t code) { values.push_back(codebook[code]); });
  } else {
    throw CheckpointError("its values are written in a way that is not known here");
  }
  if (huffman) how += ", huffman";
  return values;
}

void write_head(const std::string& name, const StoredTensor& tensor, BitWriter& out) {
  out.put_number(name.size());
  for (const char letter : name) out.put(std::uint8_t(letter), 8);
  out.put(std::uint64_t(tensor.type), kTypeBits);
  out.put_number(tensor.shape.rank());
  for (const std::int64_t extent : tensor.shape.extents()) out.put_number(std::uint64_t(extent));
}

void read_head(BitReader& in, Section& section) {
  section.name.resize(in.take_number(kMostNameBytes, "letters of a name"));
  for (char& letter : section.name) letter = char(in.take(8));
  const std::uint64_t type = in.take(kTypeBits);
  if (type >= kTypes) throw CheckpointError("its type is not known here");
  section.tensor.type = DType(type);
  std::vector<std::int64_t> extents(in.take_number(kMostAxes, "axes"));
  std::uint64_t left = kMostElements;
  for (std::int64_t& extent : extents) {
    extent = std::int64_t(in.take_number(left, "elements"));
    if (extent == 0) throw CheckpointError("one of its axes is empty");
    left /= std::uint64_t(extent);
  }
  section.tensor.shape = Shape(std::move(extents));
}

// The bytes of a tensor that is no matter of pruning: a counter, a type that has no quantised form.
void read_plain(BitReader& in, Section& section) {
  const std::int64_t bytes = section.tensor.shape.size() * std::int64_t(size_of(section.tensor.type));
  if (8 * bytes > in.left()) throw CheckpointError("its bytes end too early");
  section.tensor.bytes.resize(std::size_t(bytes));
  for (std::byte& byte : section.tensor.bytes) byte = std::byte(in.take(8));
  section.report.values = to_string(section.tensor.type);
}

void read_floats(bool masked, BitReader& in, Section& section) {
  const Positions positions = read_positions(grid_of(section.tensor.shape), in);
  StoredLayer& report = section.report;
  report.kept = std::count(positions.keep.begin(), positions.keep.end(), 1);
  report.layout = positions.layout.to_string();
  const std::vector<float> kept = read_values(report.kept, in, report.values);
  std::vector<float> all(positions.keep.size(), 0.0f);
  std::size_t next = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (positions.keep[i]) all[i] = kept[next++];
  }
  section.tensor.bytes.resize(all.size() * sizeof(float));
  std::memcpy(section.tensor.bytes.data(), all.data(), section.tensor.bytes.size());
  if (!masked) return;
  section.mask = StoredTensor{DType::u8, section.tensor.shape, std::vector<std::byte>(all.size())};
  std::memcpy(section.mask->bytes.data(), positions.keep.data(), all.size());
}

std::vector<std::uint8_t> kept_by(const StoredTensor* mask, const std::vector<float>& values) {
  std::vector<std::uint8_t> keep(values.size());
  for (std::size_t i = 0; i < keep.size(); ++i) {
    keep[i] = mask ? mask->bytes[i] != std::byte(0) : std::bit_cast<std::uint32_t>(values[i]) != 0;
  }
  return keep;
}

}  // namespace

std::vector<std::byte> encode(const std::string& name, const StoredTensor& tensor, const StoredTensor* mask,
                              const Compression& compression) {
  BitWriter out;
  write_head(name, tensor, out);
  out.put(mask != nullptr, 1);
  if (tensor.type != DType::f32) {
    for (const std::byte byte : tensor.bytes) out.put(std::uint64_t(byte), 8);
    return out.bytes();
  }
  const std::vector<float> values = tensor.floats();
  const std::vector<std::uint8_t> keep = kept_by(mask, values);
  write_positions(keep, grid_of(tensor.shape), compression.huffman, out);
  std::vector<float> kept;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (keep[i]) kept.push_back(values[i]);
  }
  write_values(kept, compression, /*quantise=*/tensor.shape.rank() >= 2, out);
  return out.bytes();
}

Section decode(std::span<const std::byte> bytes) {
  BitReader in(bytes);
  Section section;
  read_head(in, section);
  StoredLayer& report = section.report;
  report.name = section.name, report.shape = section.tensor.shape;
  report.kept = report.shape.size(), report.layout = "dense";
  report.bytes = std::int64_t(bytes.size());
  report.dense_bytes = report.shape.size() * std::int64_t(size_of(section.tensor.type));
  const bool masked = in.take(1) == 1;
  if (section.tensor.type == DType::f32) {
    read_floats(masked, in, section);
  } else {
    read_plain(in, section);
  }
  if (in.left() >= 8) throw CheckpointError("goes on after its last value");
  return section;
}

}  // namespace espalier::compressed
