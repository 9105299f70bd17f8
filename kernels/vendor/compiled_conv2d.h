// y = a convolution of x by code that was compiled for its weights alone (kernels/sparse/conv2d_source.h). Code that
// was compiled at run time runs on a GPU only: a CPU has too few registers to share what it reads among filters.
#pragma once
#include <memory>
#include <string>

#include "kernels/sparse/conv2d_source.h"
#include "kernels/vendor/compiler.h"

namespace espalier::kernels::vendor {

class CompiledConv2d {
 public:
  static SourceTarget target();

  // `object` is what compiled_object() made of the source. Throws CompileError where it cannot be loaded.
  CompiledConv2d(Conv2dSource source, const std::string& object);
  // Of a kernel that was compiled into the program: `function` is what the source defines.
  CompiledConv2d(Conv2dSource source, const void* function);

  // x [batch, channels, height, width], y [batch, filters, out_height, out_width], or half as high and wide behind a
  // pool; y at a multiple of 8 bytes.
  void operator()(index_t batch, const float* x, float* y, cudaStream_t stream) const;
  const Conv2dSource& source() const { return source_; }

 private:
  struct Library;
  Conv2dSource source_;
  std::shared_ptr<const Library> library_;
};

}  // namespace espalier::kernels::vendor
