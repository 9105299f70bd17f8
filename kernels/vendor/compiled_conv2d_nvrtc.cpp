// The cuda build's way: the cubin is loaded by the runtime.
#include "kernels/vendor/compiled_conv2d.h"
#include "kernels/vendor/loaded_kernel.h"

namespace espalier::kernels::vendor {

struct CompiledConv2d::Library : LoadedKernel {
  using LoadedKernel::LoadedKernel;
};

SourceTarget CompiledConv2d::target() { return SourceTarget::cuda; }

CompiledConv2d::CompiledConv2d(Conv2dSource source, const std::string& object)
    : source_(std::move(source)),
      library_(std::make_shared<Library>(object, Conv2dSource::kName, source_.shared_bytes())) {}

CompiledConv2d::CompiledConv2d(Conv2dSource source, const void* function)
    : source_(std::move(source)), library_(std::make_shared<Library>(function, source_.shared_bytes())) {}

void CompiledConv2d::operator()(index_t batch, const float* x, float* y, cudaStream_t stream) const {
  if (batch == 0) return;
  long long count = batch;
  void* arguments[] = {&count, &x, &y};
  library_->launch(source_.launch(batch, y, stream), arguments);
}

}  // namespace espalier::kernels::vendor
