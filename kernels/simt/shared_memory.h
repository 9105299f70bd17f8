// The dynamic shared memory of an OS thread's running block, below an inaccessible page, and the poison (NaN bytes)
// that check builds put into all shared memory before each block: without it a block would find its predecessor's
// values.
#pragma once
#include <cstddef>
#include <map>
#include <span>

#include "kernels/simt/shared_symbols.h"

namespace espalier::simt::detail {

constexpr std::size_t kMaxSharedBytes = 227 * 1024;  // of a block, on compute capability 9.0 and later
constexpr unsigned char kPoison = 0xFF;
#if defined(ESPALIER_CHECKS)
constexpr bool kChecks = true;
#else
constexpr bool kChecks = false;
#endif

class SharedMemory {
 public:
  SharedMemory();
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  void* prepare(const void* kernel, std::size_t dynamic_bytes);  // for the blocks of one launch; its dynamic part
  void begin_block();

 private:
  char* memory_ = nullptr;
  std::span<char> dynamic_;
  const SharedVariables* static_ = nullptr;       // of the kernel, in this OS thread
  std::map<const void*, SharedVariables> known_;  // by kernel
};

}  // namespace espalier::simt::detail
