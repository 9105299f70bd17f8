// The cuda build's way: the cubin is loaded by the runtime, one block takes 32 images.
#include <algorithm>

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/simt/simt.h"
#include "kernels/vendor/compiled_network.h"

namespace espalier::kernels::vendor {
namespace {

void require_success(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  throw CompileError(std::string("compiled code cannot be loaded: ") + what + ": " + cudaGetErrorString(status));
}

index_t blocks_for(index_t batch) { return ceil_div<index_t>(batch, NetworkSource::kImages); }

}  // namespace

struct CompiledNetwork::Library {
  cudaLibrary_t library = nullptr;  // null: the kernel is part of the program
  const void* kernel = nullptr;

  Library(const void* function, index_t shared_bytes) : kernel(function) { allow(shared_bytes); }
  Library(const std::string& object, index_t shared_bytes) {
    require_success(cudaLibraryLoadData(&library, object.data(), nullptr, nullptr, 0, nullptr, nullptr, 0), "load");
    try {
      cudaKernel_t loaded = nullptr;
      require_success(cudaLibraryGetKernel(&loaded, library, NetworkSource::kName), NetworkSource::kName);
      kernel = reinterpret_cast<const void*>(loaded);
      allow(shared_bytes);
    } catch (...) {
      cudaLibraryUnload(library);
      throw;
    }
  }
  ~Library() {
    if (library) cudaLibraryUnload(library);
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

 private:
  void allow(index_t shared_bytes) const {
    require_success(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes)),
                    "shared memory");
  }
};

SourceTarget CompiledNetwork::target() { return SourceTarget::cuda; }

CompiledNetwork::CompiledNetwork(NetworkSource source, const std::string& object)
    : source_(std::move(source)), library_(std::make_shared<Library>(object, source_.shared_bytes)) {}

CompiledNetwork::CompiledNetwork(NetworkSource source, const void* function)
    : source_(std::move(source)), library_(std::make_shared<Library>(function, source_.shared_bytes)) {}

index_t CompiledNetwork::memory_floats(index_t batch) const {
  return std::max<index_t>(1, blocks_for(batch) * source_.memory);
}

void CompiledNetwork::operator()(index_t batch, const float* x, float* y, float* memory, cudaStream_t stream) const {
  if (batch == 0) return;
  require(blocks_for(batch) <= kMaxGridX, "compiled network: a batch of ", batch);
  const simt::Launch launch{dim3(unsigned(blocks_for(batch))), dim3(NetworkSource::kImages * NetworkSource::kWarps),
                            std::size_t(source_.shared_bytes), stream};
  const simt::Range range("kernel", [&] { return simt::range_text(launch); });
  long long count = batch;
  void* arguments[] = {&count, &x, &y, &memory};
  const cudaError_t status =
      cudaLaunchKernel(library_->kernel, launch.grid, launch.block, arguments, launch.dynamic_shared_bytes, stream);
  if (status != cudaSuccess) throw simt::LaunchError(simt::describe(launch) + ": " + cudaGetErrorString(status));
}

}  // namespace espalier::kernels::vendor
