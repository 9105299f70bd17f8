// Contiguous row-major device memory with a shape and an element type. Copies share the memory; clone() does not.
// A tensor knows nothing of gradients (core/autograd does).
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/tensor/shape.h"

namespace espalier {

// f16 and bf16 hold rounded copies of floats for products; nothing else computes with them.
enum class DType { f32, f64, i32, i64, u8, u16, u32, f16, bf16 };

std::size_t size_of(DType type);
std::string_view to_string(DType type);  // "f32"

template <class T>
constexpr DType dtype_of() {
  using U = std::remove_const_t<T>;
  if constexpr (std::is_same_v<U, float>)
    return DType::f32;
  else if constexpr (std::is_same_v<U, double>)
    return DType::f64;
  else if constexpr (std::is_same_v<U, std::int32_t>)
    return DType::i32;
  else if constexpr (std::is_same_v<U, std::int64_t>)
    return DType::i64;
  else if constexpr (std::is_same_v<U, std::uint8_t>)
    return DType::u8;
  else if constexpr (std::is_same_v<U, std::uint16_t>)
    return DType::u16;
  else {
    static_assert(std::is_same_v<U, std::uint32_t>, "no DType for this element type");
    return DType::u32;
  }
}

// A device address that a launcher may have but the host must not read: operator* and [] do not exist.
template <class T>
class DevicePointer {
 public:
  explicit DevicePointer(T* address) : address_(address) {}
  operator T*() const { return address_; }  // for launchers
  T& operator*() const = delete;
  template <class Index>
  T& operator[](Index) const = delete;
  DevicePointer operator+(std::int64_t offset) const { return DevicePointer(address_ + offset); }

 private:
  T* address_;
};

class Tensor {
 public:
  Tensor() = default;                                         // no memory; defined() is false
  static Tensor empty(Shape shape, DType type = DType::f32);  // uninitialised
  static Tensor zeros(Shape shape, DType type = DType::f32);
  static Tensor full(Shape shape, float value);
  static Tensor like(const Tensor& other);  // uninitialised, same shape and type
  static Tensor from(Shape shape, std::span<const float> values);
  template <class T>
  static Tensor from(Shape shape, const std::vector<T>& values) {
    return from_bytes(std::move(shape), dtype_of<T>(), std::as_bytes(std::span(values)));
  }
  static Tensor from_bytes(Shape shape, DType type, std::span<const std::byte> bytes);

  bool defined() const { return memory_ != nullptr; }
  const Shape& shape() const { return shape_; }
  std::int64_t size() const { return shape_.size(); }
  std::int64_t bytes() const;
  DType dtype() const { return type_; }

  // The device address; throws InvalidArgument when T is not the element type.
  template <class T>
  DevicePointer<T> data() const {
    return DevicePointer<T>(static_cast<T*>(address(dtype_of<T>())));
  }
  void* raw() const { return memory_.get(); }

  Tensor reshape(Shape shape) const;                    // same memory; throws InvalidArgument when the sizes differ
  Tensor clone() const;                                 // a copy on current_stream()
  void copy_from(const Tensor& other) const;            // same size and type; on current_stream()
  void upload(std::span<const std::byte> bytes) const;  // waits until the bytes have been read
  std::vector<float> to_host() const;                   // f32 only; waits for current_stream()
  template <class T>
  std::vector<T> to_host_as() const {
    std::vector<T> values(static_cast<std::size_t>(size()));
    download(dtype_of<T>(), std::as_writable_bytes(std::span(values)));
    return values;
  }
  std::vector<std::byte> to_host_bytes() const;  // of any type
  float item() const;                            // the only element of an f32 tensor

 private:
  void* address(DType asked) const;
  void download(DType asked, std::span<std::byte> bytes) const;
  std::shared_ptr<void> memory_;
  Shape shape_;
  DType type_ = DType::f32;
};

using Tensors = std::vector<Tensor>;

}  // namespace espalier
