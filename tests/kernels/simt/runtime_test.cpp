// The emulated CUDA runtime: memory, copies, streams, events, device.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/simt/simt.h"

namespace {

struct DeviceArray {
  explicit DeviceArray(std::size_t count) { REQUIRE(cudaMalloc(&data, count * sizeof(float)) == cudaSuccess); }
  ~DeviceArray() { cudaFree(data); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  float* data = nullptr;
};

}  // namespace

TEST_CASE("cudaMalloc: fresh memory is NaN and aligned") {
  const DeviceArray array(100);
  for (int i = 0; i < 100; ++i) CHECK(std::isnan(array.data[i]));
  CHECK(reinterpret_cast<std::uintptr_t>(array.data) % 256 == 0);
}

TEST_CASE("cudaMalloc: what cannot be had is refused, what was not given cannot be freed") {
  void* pointer = &pointer;
  CHECK(cudaMalloc(&pointer, std::size_t{1} << 60) == cudaErrorMemoryAllocation);
  CHECK(pointer == nullptr);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
  CHECK(cudaGetLastError() == cudaSuccess);
  CHECK(cudaMalloc(&pointer, 0) == cudaSuccess);
  CHECK(cudaFree(nullptr) == cudaSuccess);
  float own = 0;
  CHECK(cudaFree(&own) == cudaErrorInvalidValue);
  CHECK(cudaMallocHost(&pointer, 64) == cudaSuccess);
  CHECK(cudaFree(pointer) == cudaErrorInvalidValue);
  CHECK(cudaFreeHost(pointer) == cudaSuccess);
  CHECK(cudaPeekAtLastError() == cudaErrorInvalidValue);
  cudaGetLastError();
}

TEST_CASE("cudaMemcpy: directions and bounds are checked") {
  const DeviceArray device(8), other(8);
  std::vector<float> host(8, 2.0f), back(8);
  constexpr std::size_t kBytes = 8 * sizeof(float);
  CHECK(cudaMemcpy(device.data, host.data(), kBytes, cudaMemcpyHostToDevice) == cudaSuccess);
  CHECK(cudaMemcpy(other.data, device.data, kBytes, cudaMemcpyDeviceToDevice) == cudaSuccess);
  CHECK(cudaMemcpy(back.data(), other.data, kBytes, cudaMemcpyDeviceToHost) == cudaSuccess);
  CHECK(back == host);
  CHECK(cudaMemcpy(back.data(), device.data + 4, kBytes / 2, cudaMemcpyDefault) == cudaSuccess);
  CHECK(cudaMemcpy(back.data(), device.data, kBytes, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(back.data(), host.data(), kBytes, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(device.data + 1, host.data(), kBytes, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(device.data, host.data(), kBytes, cudaMemcpyKind(9)) == cudaErrorInvalidMemcpyDirection);
  CHECK(cudaMemset(host.data(), 0, kBytes) == cudaErrorInvalidValue);
  CHECK(cudaMemset(device.data, 0, kBytes) == cudaSuccess);
  CHECK(device.data[7] == 0.0f);
  cudaGetLastError();
}

TEST_CASE("cudaMemGetInfo: counts what is allocated") {
  std::size_t before = 0, during = 0, total = 0;
  cudaMemGetInfo(&before, &total);
  const DeviceArray array(1 << 20);
  cudaMemGetInfo(&during, &total);
  CHECK(before - during == 4u << 20);
  CHECK(before <= total);
}

TEST_CASE("events: time between two records, in a stream's order") {
  cudaStream_t stream = nullptr;
  cudaEvent_t start = nullptr, stop = nullptr;
  CHECK(cudaStreamCreate(&stream) == cudaSuccess);
  CHECK(cudaEventCreate(&start) == cudaSuccess);
  CHECK(cudaEventCreate(&stop) == cudaSuccess);
  float milliseconds = -1;
  CHECK(cudaEventElapsedTime(&milliseconds, start, stop) == cudaErrorInvalidResourceHandle);
  CHECK(cudaEventRecord(start, stream) == cudaSuccess);
  CHECK(cudaEventRecord(stop, stream) == cudaSuccess);
  CHECK(cudaEventSynchronize(stop) == cudaSuccess);
  CHECK(cudaEventElapsedTime(&milliseconds, start, stop) == cudaSuccess);
  CHECK(milliseconds >= 0.0f);
  CHECK(cudaStreamWaitEvent(stream, stop) == cudaSuccess);
  CHECK(cudaStreamQuery(stream) == cudaSuccess);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(cudaEventDestroy(start) == cudaSuccess);
  CHECK(cudaEventDestroy(stop) == cudaSuccess);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
  cudaGetLastError();
}

TEST_CASE("device: one, and it says what it is") {
  int count = 0;
  CHECK(cudaGetDeviceCount(&count) == cudaSuccess);
  CHECK(count == 1);
  cudaDeviceProp properties;
  CHECK(cudaGetDeviceProperties(&properties, 0) == cudaSuccess);
  CHECK(std::string(properties.name) == "CPU emulation");
  CHECK(properties.warpSize == 32);
  CHECK(properties.multiProcessorCount >= 1);
  CHECK(cudaGetDeviceProperties(&properties, 1) == cudaErrorInvalidDevice);
  CHECK(cudaSetDevice(0) == cudaSuccess);
  CHECK(std::string(cudaGetErrorName(cudaErrorInvalidDevice)) == "cudaErrorInvalidDevice");
  CHECK(std::string(cudaGetErrorString(cudaErrorInvalidDevice)) == "invalid device ordinal");
  cudaGetLastError();
}
