// What the work runs on, for reports: every figure is shown beside it.
#pragma once
#include <cstdint>
#include <string>

namespace espalier {

struct DeviceInfo {
  std::string name;         // the GPU's name, or "CPU emulation"
  bool emulated = false;    // true in the cpu build: times say nothing about a GPU
  int multiprocessors = 0;  // OS threads in the cpu build
  std::int64_t memory_bytes = 0;
  std::string compute_capability;  // "8.0"; empty in the cpu build
  std::string driver, runtime;     // "13.0"; empty in the cpu build
};

DeviceInfo device_info();               // throws DeviceError when no device answers
std::int64_t shared_bytes_per_block();  // that a kernel may ask for; throws DeviceError, too

}  // namespace espalier
