// y = a network of x by code that was compiled for it alone (kernels/sparse/network_source.h), in one launch.
#pragma once
#include <memory>
#include <string>

#include "kernels/sparse/network_source.h"
#include "kernels/vendor/compiler.h"

namespace espalier::kernels::vendor {

class CompiledNetwork {
 public:
  static SourceTarget target();

  // `object` is what compiled_object() made of the source. Throws CompileError where it cannot be loaded.
  CompiledNetwork(NetworkSource source, const std::string& object);
  // Of code that was compiled into the program: `function` is what the source defines, a kernel on a GPU.
  CompiledNetwork(NetworkSource source, const void* function);

  index_t memory_floats(index_t batch) const;  // of scratch that a launch wants
  // x [batch, inputs], y [batch, outputs].
  void operator()(index_t batch, const float* x, float* y, float* memory, cudaStream_t stream) const;
  const NetworkSource& source() const { return source_; }

 private:
  struct Library;
  NetworkSource source_;
  std::shared_ptr<const Library> library_;
};

}  // namespace espalier::kernels::vendor
