#include "kernels/vendor/compiler.h"
#include "kernels/vendor/loaded_kernel.h"

namespace espalier::kernels::vendor {
namespace {

void require_success(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  throw CompileError(std::string("compiled code cannot be loaded: ") + what + ": " + cudaGetErrorString(status));
}

}  // namespace

LoadedKernel::LoadedKernel(const void* function, index_t shared_bytes) : kernel_(function) { allow(shared_bytes); }

LoadedKernel::LoadedKernel(const std::string& object, const char* name, index_t shared_bytes) {
  require_success(cudaLibraryLoadData(&library_, object.data(), nullptr, nullptr, 0, nullptr, nullptr, 0), "load");
  try {
    cudaKernel_t loaded = nullptr;
    require_success(cudaLibraryGetKernel(&loaded, library_, name), name);
    kernel_ = reinterpret_cast<const void*>(loaded);
    allow(shared_bytes);
  } catch (...) {
    cudaLibraryUnload(library_);
    throw;
  }
}

LoadedKernel::~LoadedKernel() {
  if (library_) cudaLibraryUnload(library_);
}

void LoadedKernel::allow(index_t shared_bytes) const {
  require_success(cudaFuncSetAttribute(kernel_, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes)),
                  "shared memory");
}

void LoadedKernel::launch(const simt::Launch& where, void** arguments) const {
  const simt::Range range("kernel", [&] { return simt::range_text(where); });
  const cudaError_t status =
      cudaLaunchKernel(kernel_, where.grid, where.block, arguments, where.dynamic_shared_bytes, where.stream);
  if (status != cudaSuccess) throw simt::LaunchError(simt::describe(where) + ": " + cudaGetErrorString(status));
}

}  // namespace espalier::kernels::vendor
