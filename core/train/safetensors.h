// The safetensors container: an 8-byte little-endian length, a JSON header that names each tensor with its type, shape
// and place, then the bytes. Other tools read it (Python's `safetensors`), nothing in it can be executed, and reading
// checks every length, offset and size before it uses one.
#pragma once
#include <cstddef>
#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/tensor/tensor.h"

namespace espalier {

inline constexpr const char* kMaskPrefix = "mask/";  // of the name of a weight: its mask, u8, 1 = lives

struct CheckpointError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct StoredTensor {
  DType type = DType::f32;
  Shape shape;
  std::vector<std::byte> bytes;
  static StoredTensor of(const Tensor& tensor);  // waits for current_stream()
  void upload_to(const Tensor& tensor) const;    // throws InvalidArgument when type or size differ
  std::vector<float> floats() const;             // of an f32 tensor
  bool operator==(const StoredTensor&) const = default;
};

struct Safetensors {
  std::map<std::string, StoredTensor> tensors;
  std::map<std::string, std::string> metadata;
  bool operator==(const Safetensors&) const = default;
};

std::vector<std::byte> read_file(const std::filesystem::path& file);  // throws CheckpointError naming file and reason
void write_safetensors(const std::filesystem::path& file, const Safetensors& content);  // atomic; throws FileError
Safetensors read_safetensors(const std::filesystem::path& file);  // throws CheckpointError naming file and reason

}  // namespace espalier
