#include "core/tensor/tensor.h"

#include <algorithm>

#include "core/device/error.h"
#include "core/device/memory.h"
#include "core/device/stream.h"
#include "kernels/elementwise.h"

namespace espalier {

std::size_t size_of(DType type) {
  switch (type) {
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::u8:
      return 1;
    case DType::u16:
    case DType::f16:
    case DType::bf16:
      return 2;
    default:
      return 4;
  }
}

std::string_view to_string(DType type) {
  switch (type) {
    case DType::f32:
      return "f32";
    case DType::f64:
      return "f64";
    case DType::i32:
      return "i32";
    case DType::i64:
      return "i64";
    case DType::u8:
      return "u8";
    case DType::u16:
      return "u16";
    case DType::u32:
      return "u32";
    case DType::f16:
      return "f16";
    case DType::bf16:
      return "bf16";
  }
  return "?";
}

Tensor Tensor::empty(Shape shape, DType type) {
  Tensor tensor;
  tensor.shape_ = std::move(shape);
  tensor.type_ = type;
  tensor.memory_ = current_pool().allocate(std::size_t(tensor.bytes()));
  return tensor;
}

Tensor Tensor::zeros(Shape shape, DType type) {
  Tensor tensor = empty(std::move(shape), type);
  check(cudaMemsetAsync(tensor.raw(), 0, std::size_t(tensor.bytes()), current_stream()));
  return tensor;
}

Tensor Tensor::full(Shape shape, float value) {
  Tensor tensor = empty(std::move(shape));
  kernels::fill(tensor.size(), value, tensor.data<float>(), current_stream());  // can be captured
  return tensor;
}

Tensor Tensor::like(const Tensor& other) { return empty(other.shape_, other.type_); }

Tensor Tensor::from(Shape shape, std::span<const float> values) {
  return from_bytes(std::move(shape), DType::f32, std::as_bytes(values));
}

Tensor Tensor::from_bytes(Shape shape, DType type, std::span<const std::byte> bytes) {
  Tensor tensor = empty(std::move(shape), type);
  tensor.upload(bytes);
  return tensor;
}

std::int64_t Tensor::bytes() const { return size() * std::int64_t(size_of(type_)); }

Tensor Tensor::reshape(Shape shape) const {
  require(shape.size() == size(), "reshape: ", shape_.to_string(), " has ", size(), " elements, ", shape.to_string(),
          " needs ", shape.size());
  Tensor view = *this;
  view.shape_ = std::move(shape);
  return view;
}

Tensor Tensor::clone() const {
  Tensor copy = like(*this);
  copy.copy_from(*this);
  return copy;
}

void Tensor::copy_from(const Tensor& other) const {
  require(other.size() == size() && other.type_ == type_, "copy: source is ", other.shape_.to_string(), " ",
          std::string(to_string(other.type_)), ", destination ", shape_.to_string(), " ",
          std::string(to_string(type_)));
  check(cudaMemcpyAsync(raw(), other.raw(), std::size_t(bytes()), cudaMemcpyDeviceToDevice, current_stream()));
}

void Tensor::upload(std::span<const std::byte> source) const {
  require(std::int64_t(source.size()) == bytes(), "upload: ", source.size(), " bytes given for ", shape_.to_string(),
          " ", std::string(to_string(type_)), ", which has ", bytes());
  check(cudaMemcpyAsync(raw(), source.data(), source.size(), cudaMemcpyHostToDevice, current_stream()));
  synchronize();
}

std::vector<float> Tensor::to_host() const { return to_host_as<float>(); }

std::vector<std::byte> Tensor::to_host_bytes() const {
  std::vector<std::byte> values(static_cast<std::size_t>(bytes()));
  download(type_, values);
  return values;
}

float Tensor::item() const {
  require(size() == 1, "item: the tensor has shape ", shape_.to_string(), ", not a single element");
  return to_host().front();
}

void* Tensor::address(DType asked) const {
  require(defined(), "this tensor has no memory; was it computed, and does its gradient exist?");
  require(asked == type_, "tensor ", shape_.to_string(), " holds ", std::string(to_string(type_)), ", not ",
          std::string(to_string(asked)));
  return memory_.get();
}

void Tensor::download(DType asked, std::span<std::byte> target) const {
  const void* const source = address(asked);
  check(cudaMemcpyAsync(target.data(), source, target.size(), cudaMemcpyDeviceToHost, current_stream()));
  synchronize();
}

}  // namespace espalier
