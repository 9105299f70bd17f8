// The cuda build's way: the cubin is loaded by the runtime, one block takes 32 images.
#include <algorithm>

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/vendor/compiled_network.h"
#include "kernels/vendor/loaded_kernel.h"

namespace espalier::kernels::vendor {
namespace {

index_t blocks_for(index_t batch) { return ceil_div<index_t>(batch, NetworkSource::kImages); }

}  // namespace

struct CompiledNetwork::Library : LoadedKernel {
  using LoadedKernel::LoadedKernel;
};

SourceTarget CompiledNetwork::target() { return SourceTarget::cuda; }

CompiledNetwork::CompiledNetwork(NetworkSource source, const std::string& object)
    : source_(std::move(source)),
      library_(std::make_shared<Library>(object, NetworkSource::kName, source_.shared_bytes)) {}

CompiledNetwork::CompiledNetwork(NetworkSource source, const void* function)
    : source_(std::move(source)), library_(std::make_shared<Library>(function, source_.shared_bytes)) {}

index_t CompiledNetwork::memory_floats(index_t batch) const {
  return std::max<index_t>(1, blocks_for(batch) * source_.memory);
}

void CompiledNetwork::operator()(index_t batch, const float* x, float* y, float* memory, cudaStream_t stream) const {
  if (batch == 0) return;
  require(blocks_for(batch) <= kMaxGridX, "compiled network: a batch of ", batch);
  long long count = batch;
  void* arguments[] = {&count, &x, &y, &memory};
  library_->launch({dim3(unsigned(blocks_for(batch))), dim3(NetworkSource::kImages * NetworkSource::kWarps),
                    std::size_t(source_.shared_bytes), stream},
                   arguments);
}

}  // namespace espalier::kernels::vendor
