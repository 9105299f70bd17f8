// The cpu build's way: the emulation runs a kernel that is part of the program, so that tests see the code that a GPU
// would. Nothing is compiled at run time.
#include "kernels/vendor/compiled_conv2d.h"

namespace espalier::kernels::vendor {

using Kernel = void (*)(long long batch, const float* x, float* y);

struct CompiledConv2d::Library {
  Kernel kernel;
};

SourceTarget CompiledConv2d::target() { return SourceTarget::host; }

CompiledConv2d::CompiledConv2d(Conv2dSource, const std::string&) {
  throw CompileError("a CPU has too few vector registers to share what it reads among filters");
}

CompiledConv2d::CompiledConv2d(Conv2dSource source, const void* function)
    : source_(std::move(source)),
      library_(std::make_shared<Library>(Library{reinterpret_cast<Kernel>(const_cast<void*>(function))})) {}

void CompiledConv2d::operator()(index_t batch, const float* x, float* y, cudaStream_t stream) const {
  if (batch == 0) return;
  simt::launch(library_->kernel, source_.launch(batch, y, stream), batch, x, y);
}

}  // namespace espalier::kernels::vendor
