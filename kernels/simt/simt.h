// The one include of every kernel source: CUDA under nvcc, its emulation on CPU threads under g++.
// Kernels are written in plain CUDA; only the launch and dynamic shared memory go through here, so that one source
// serves both builds. Launches are checked in both: a refused one throws LaunchError naming launcher, file and line.
// The cpu build listens to ESPALIER_THREADS (OS threads that run blocks; default: all), ESPALIER_THREAD_ORDER (forward,
// reverse or shuffled threads and blocks) and ESPALIER_SEED (of the shuffling).
#pragma once
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <stdexcept>
#include <string>
#include <utility>

#include "kernels/simt/range.h"

#if defined(ESPALIER_CUDA)
#include <cuda_runtime.h>
#else
#include "kernels/simt/emulated_cuda.h"
#include "kernels/simt/emulated_runtime.h"
#endif

namespace espalier::simt {

#if defined(ESPALIER_CUDA)
constexpr bool kEmulated = false;
constexpr bool kContiguousElements = false;  // neighbouring threads touch neighbouring elements
constexpr int kElementThreads = 256;
constexpr int kElementsPerThread = 4;
constexpr int kElementBlocks = 2048;  // 8 blocks of 256 on each of up to 256 multiprocessors
#else
constexpr bool kEmulated = true;
constexpr bool kContiguousElements = true;  // one thread runs along memory, the compiler vectorises
constexpr int kElementThreads = 1;
constexpr int kElementsPerThread = 4096;
constexpr int kElementBlocks = 64;
#endif

struct LaunchError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Grid and block of one launch; `where` names the launcher in errors.
struct Launch {
  dim3 grid, block;
  std::size_t dynamic_shared_bytes = 0;
  cudaStream_t stream = nullptr;
  std::source_location where = std::source_location::current();
};

inline std::string describe_size(const Launch& launch) {
  const auto size = [](const dim3& d) {
    return "(" + std::to_string(d.x) + ", " + std::to_string(d.y) + ", " + std::to_string(d.z) + ")";
  };
  return "grid " + size(launch.grid) + ", block " + size(launch.block) + ", " +
         std::to_string(launch.dynamic_shared_bytes) + " bytes of dynamic shared memory";
}

inline std::string describe(const Launch& launch) {
  return std::string(launch.where.function_name()) + " at " + launch.where.file_name() + ":" +
         std::to_string(launch.where.line()) + ": " + describe_size(launch);
}

// What traces and profilers show of a launch.
inline RangeText range_text(const Launch& launch) { return {launcher_name(launch.where), describe_size(launch)}; }

#if defined(__CUDACC__)

constexpr std::size_t kSharedBytesWithoutOptIn = 48 * 1024;

// kernel<<<grid, block, bytes, stream>>>(arguments...); arguments convert to the kernel's parameter types.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), const Launch& launch, Arguments&&... arguments) {
  const Range range("kernel", [&] { return range_text(launch); });
  cudaError_t status = cudaSuccess;
  if (launch.dynamic_shared_bytes > kSharedBytesWithoutOptIn) {
    status = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  int(launch.dynamic_shared_bytes));
  }
  if (status == cudaSuccess) {
    kernel<<<launch.grid, launch.block, launch.dynamic_shared_bytes, launch.stream>>>(
        static_cast<Parameters>(std::forward<Arguments>(arguments))...);
    status = cudaGetLastError();
  }
  if (status != cudaSuccess) throw LaunchError(describe(launch) + ": " + cudaGetErrorString(status));
}

// The block's dynamic shared memory, 16-byte aligned.
template <class T>
__device__ inline T* dynamic_shared() {
  extern __shared__ float4 espalier_dynamic_shared[];
  return reinterpret_cast<T*>(espalier_dynamic_shared);
}

#endif

}  // namespace espalier::simt

#if !defined(ESPALIER_CUDA)
#include "kernels/simt/emulated_launch.h"
#endif
