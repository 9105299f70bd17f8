// Device memory between two guard zones, for kernel tests: a stray write shows as a broken guard.
#pragma once
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "kernels/simt/simt.h"

namespace espalier::test {

inline void cuda_check(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

template <class T>
class GuardedBuffer {
 public:
  static constexpr std::size_t kGuardBytes = 256;  // keeps the payload aligned as cudaMalloc does
  static constexpr unsigned char kGuard = 0xA5;

  explicit GuardedBuffer(std::size_t count) : count_(count) {
    void* memory = nullptr;
    cuda_check(cudaMalloc(&memory, bytes() + 2 * kGuardBytes));
    base_ = static_cast<unsigned char*>(memory);
    cuda_check(cudaMemset(base_, kGuard, kGuardBytes));
    cuda_check(cudaMemset(base_ + kGuardBytes, 0xFF, bytes()));
    cuda_check(cudaMemset(base_ + kGuardBytes + bytes(), kGuard, kGuardBytes));
  }
  explicit GuardedBuffer(std::span<const T> values) : GuardedBuffer(values.size()) { upload(values); }
  explicit GuardedBuffer(const std::vector<T>& values) : GuardedBuffer(std::span<const T>(values)) {}
  GuardedBuffer(GuardedBuffer&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)), count_(std::exchange(other.count_, 0)) {}
  GuardedBuffer& operator=(GuardedBuffer&& other) noexcept {
    std::swap(base_, other.base_), std::swap(count_, other.count_);
    return *this;
  }
  ~GuardedBuffer() { cudaFree(base_); }

  T* data() { return reinterpret_cast<T*>(base_ + kGuardBytes); }
  const T* data() const { return reinterpret_cast<const T*>(base_ + kGuardBytes); }
  std::size_t size() const { return count_; }

  void upload(std::span<const T> values) {
    cuda_check(cudaMemcpy(data(), values.data(), values.size_bytes(), cudaMemcpyHostToDevice));
  }
  std::vector<T> download() const {  // waits for all streams
    cuda_check(cudaDeviceSynchronize());
    std::vector<T> values(count_);
    cuda_check(cudaMemcpy(values.data(), data(), bytes(), cudaMemcpyDeviceToHost));
    return values;
  }
  bool guards_intact() const {
    cuda_check(cudaDeviceSynchronize());
    std::vector<unsigned char> guard(2 * kGuardBytes);
    cuda_check(cudaMemcpy(guard.data(), base_, kGuardBytes, cudaMemcpyDeviceToHost));
    cuda_check(
        cudaMemcpy(guard.data() + kGuardBytes, base_ + kGuardBytes + bytes(), kGuardBytes, cudaMemcpyDeviceToHost));
    for (unsigned char byte : guard) {
      if (byte != kGuard) return false;
    }
    return true;
  }

 private:
  std::size_t bytes() const { return count_ * sizeof(T); }
  unsigned char* base_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace espalier::test
