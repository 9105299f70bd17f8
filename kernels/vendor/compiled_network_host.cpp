// The cpu build's way: a vector of images to a thread, which turns them so that a lane is an image.
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "kernels/activation_math.h"
#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/simt/vectors.h"
#include "kernels/vendor/compiled_network.h"

namespace espalier::kernels::vendor {
namespace {

using Activate = void (*)(int which, float slope, float* values, int count);
using Network = void (*)(float* memory, Activate activate);

template <Activation kActivation>
void activate_each(float slope, float* values, int count) {
  for (int i = 0; i < count; ++i) values[i] = kernels::activate<kActivation>(values[i], slope);
}

void activate_values(int which, float slope, float* values, int count) {
  switch (Activation(which)) {
    case Activation::gelu:
      return activate_each<Activation::gelu>(slope, values, count);
    case Activation::sigmoid:
      return activate_each<Activation::sigmoid>(slope, values, count);
    case Activation::tanh:
      return activate_each<Activation::tanh>(slope, values, count);
    default:  // the others are in the compiled text
      return;
  }
}

struct Places {
  index_t inputs, outputs, memory;  // of a group of images, in floats
  index_t lines, height, width, plane, row, begin;
  index_t clear_begin, clear, result;
};

Places places_of(const NetworkSource& source) {
  const bool whole = source.padding == 0;
  const index_t lanes = simt::kLanes;
  return {.inputs = source.inputs,
          .outputs = source.outputs,
          .memory = source.memory * lanes,
          .lines = whole ? 1 : source.channels * source.height,
          .height = whole ? 1 : source.height,
          .width = whole ? source.inputs : source.width,
          .plane = source.plane * lanes,
          .row = source.row * lanes,
          .begin = (source.first + source.origin) * lanes,
          .clear_begin = source.first * lanes,
          .clear = whole ? 0 : source.first_size * lanes,
          .result = source.result * lanes};
}

void compiled_network_kernel(Network network, Places places, index_t batch, const float* x, float* y, float* memory) {
  float* own = memory + blockIdx.x * places.memory;
  for (index_t first = index_t(blockIdx.x) * simt::kLanes; first < batch; first += index_t(gridDim.x) * simt::kLanes) {
    const int count = int(std::min<index_t>(simt::kLanes, batch - first));
    std::fill_n(own + places.clear_begin, places.clear, 0.0f);
    for (index_t line = 0; line < places.lines; ++line) {
      float* to = own + places.begin + line / places.height * places.plane + line % places.height * places.row;
      simt::transpose<simt::Overhang::spoil>(x + first * places.inputs + line * places.width, places.inputs, count,
                                             int(places.width), to, simt::kLanes);
    }
    network(own, activate_values);
    simt::transpose(own + places.result, simt::kLanes, int(places.outputs), count, y + first * places.outputs,
                    int(places.outputs));
  }
}

int threads_here() {
  int device = 0, threads = 1;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&threads, cudaDevAttrMultiProcessorCount, device);
  return threads;
}

// Two groups of images to a thread, so that a slow one does not keep all waiting.
unsigned blocks_for(index_t batch) {
  return unsigned(std::min<index_t>(ceil_div<index_t>(batch, simt::kLanes), 2 * threads_here()));
}

}  // namespace

// Loaded from memory, so that the bytes are those that were checked. The descriptor stays open as long as the library
// is loaded: its number is part of the name by which the loader knows it.
struct CompiledNetwork::Library {
  int descriptor = -1;
  void* handle = nullptr;
  Network network = nullptr;

  explicit Library(const void* function) : network(reinterpret_cast<Network>(const_cast<void*>(function))) {}
  explicit Library(const std::string& object) {
    try {
      load(object);
    } catch (...) {
      unload();
      throw;
    }
  }
  ~Library() { unload(); }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

 private:
  void load(const std::string& object) {
    descriptor = memfd_create("espalier", MFD_CLOEXEC);
    if (descriptor < 0) throw CompileError("there is no memory to load compiled code into");
    for (std::size_t at = 0; at < object.size();) {
      const ssize_t written = write(descriptor, object.data() + at, object.size() - at);
      if (written <= 0) throw CompileError("there is no memory to load compiled code into");
      at += std::size_t(written);
    }
    handle = dlopen(("/proc/self/fd/" + std::to_string(descriptor)).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) throw CompileError(std::string("compiled code cannot be loaded: ") + dlerror());
    network = reinterpret_cast<Network>(dlsym(handle, NetworkSource::kName));
    if (!network) throw CompileError("compiled code lacks its function");
  }
  void unload() {
    if (handle) dlclose(handle);
    if (descriptor >= 0) close(descriptor);
  }
};

SourceTarget CompiledNetwork::target() { return SourceTarget::host; }

CompiledNetwork::CompiledNetwork(NetworkSource source, const std::string& object)
    : source_(std::move(source)), library_(std::make_shared<Library>(object)) {}

CompiledNetwork::CompiledNetwork(NetworkSource source, const void* function)
    : source_(std::move(source)), library_(std::make_shared<Library>(function)) {}

// Transposing writes whole vectors: room for one more, and one to begin at a vector's address.
index_t CompiledNetwork::memory_floats(index_t batch) const {
  return index_t(blocks_for(batch)) * source_.memory * simt::kLanes + 2 * simt::kLanes;
}

void CompiledNetwork::operator()(index_t batch, const float* x, float* y, float* memory, cudaStream_t stream) const {
  if (batch == 0) return;
  constexpr std::uintptr_t kAlignment = simt::kLanes * sizeof(float);
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  memory += (kAlignment - address % kAlignment) % kAlignment / sizeof(float);
  simt::launch(compiled_network_kernel, {dim3(blocks_for(batch)), dim3(1), 0, stream}, library_->network,
               places_of(source_), batch, x, y, memory);
}

}  // namespace espalier::kernels::vendor
