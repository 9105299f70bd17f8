#include "core/device/device_info.h"

#include <fmt/format.h>

#include "core/device/error.h"

namespace espalier {
namespace {

std::string version(int number) { return fmt::format("{}.{}", number / 1000, number % 1000 / 10); }

}  // namespace

DeviceInfo device_info() {
  int device = 0;
  check(cudaGetDevice(&device));
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device));
  DeviceInfo info;
  info.name = properties.name;
  info.emulated = simt::kEmulated;
  info.multiprocessors = properties.multiProcessorCount;
  info.memory_bytes = std::int64_t(properties.totalGlobalMem);
  if (!info.emulated) {
    int driver = 0, runtime = 0;
    check(cudaDriverGetVersion(&driver));
    check(cudaRuntimeGetVersion(&runtime));
    info.compute_capability = fmt::format("{}.{}", properties.major, properties.minor);
    info.driver = version(driver);
    info.runtime = version(runtime);
  }
  return info;
}

std::int64_t shared_bytes_per_block() {
  int device = 0, bytes = 0;
  check(cudaGetDevice(&device));
  check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  return bytes;
}

}  // namespace espalier
