// A kernel that was compiled at run time, in the cuda build: loaded by the runtime, and launched. Or one that is part
// of the program, as an emulator needs it, which loads nothing.
#pragma once
#include <string>

#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels::vendor {

class LoadedKernel {
 public:
  // Throws CompileError where the object cannot be loaded, or a block cannot have so much shared memory.
  LoadedKernel(const std::string& object, const char* name, index_t shared_bytes);
  LoadedKernel(const void* function, index_t shared_bytes);
  ~LoadedKernel();
  LoadedKernel(const LoadedKernel&) = delete;
  LoadedKernel& operator=(const LoadedKernel&) = delete;

  void launch(const simt::Launch& where, void** arguments) const;  // throws LaunchError

 private:
  void allow(index_t shared_bytes) const;
  cudaLibrary_t library_ = nullptr;  // null: the kernel is part of the program
  const void* kernel_ = nullptr;
};

}  // namespace espalier::kernels::vendor
