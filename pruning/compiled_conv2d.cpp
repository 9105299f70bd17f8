#include "pruning/compiled_conv2d.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/device/device_info.h"
#include "core/device/stream.h"
#include "kernels/grid.h"
#include "kernels/require.h"
#include "pruning/compiled_code.h"
#include "pruning/network_chain.h"
#include "pruning/product_work.h"

namespace espalier::pruning {
namespace {

using kernels::Conv2dSourceLayout;
using kernels::FusedProduct;
using kernels::SourceDevice;
using kernels::vendor::CompiledConv2d;
constexpr double kLeastSparsity = 0.25;  // below it the dense kernel, whose weights take no instruction, is as fast
constexpr double kInstructionBytes = 16;

std::string compiler_of(const CompileOptions& options) {
  return options.gpu ? "NVRTC" : std::string(kernels::vendor::compiler_name());
}

SourceDevice device_here() {
  const DeviceInfo device = device_info();
  const bool half = device.compute_capability.starts_with("7.") || device.compute_capability == "8.0";
  return {device.multiprocessors, shared_bytes_per_block(), half ? 64 : 128};
}

SourceDevice device_of(const GpuModel& gpu) {
  return {gpu.multiprocessors, gpu.shared_kibibytes * 1024, gpu.fp32_lanes};
}

// x is read once for each part of the filters, the code of a part by each multiprocessor that has a block of it.
KernelWork work_of_code(const GpuModel& gpu, const FusedProduct& product, std::int64_t batch) {
  const Conv2dSourceLayout layout = conv2d_source_layout(product, batch, device_of(gpu));
  const kernels::Conv2dSourceWork block = conv2d_source_work(product, layout);
  const double x = 4.0 * double(batch * product.shape.channels * product.shape.height * product.shape.width);
  KernelWork work = moving(gpu, x + 4.0 * double(batch * product.out_size()));
  work.blocks = double(layout.groups * layout.tiles() * kernels::ceil_div(batch, layout.images));
  work.fp32_warp_instructions = work.blocks * block.products / kSparseRate;
  work.warp_instructions = work.blocks * block.instructions;
  work.l1_wavefronts = work.blocks * block.wavefronts / kMemoryRate;
  const double code =
      kInstructionBytes * double(product.values.size()) * double(layout.cell_rows * layout.cell_columns);
  const double readers = std::min(work.blocks, double(layout.groups * gpu.multiprocessors));
  work.l2_bytes += (double(layout.groups - 1) * x + code / double(layout.groups) * readers) / kMemoryRate;
  return work;
}

FusedProduct product_to_compile(const RecordedCall& call) {
  FusedProduct product = product_of(*call.function, call.inputs[0].shape(), call.inputs[1].shape());
  read_weights(product, call.inputs[1], call.inputs.size() > 2 ? &call.inputs[2] : nullptr);
  const double sparsity = 1.0 - double(product.values.size()) / double(product.shape.weight_size());
  if (sparsity < kLeastSparsity) {
    throw Refused{fmt::format("{:.1f} % of its weights are zero; code for each pays from {:.0f} % at the earliest",
                              100 * sparsity, 100 * kLeastSparsity)};
  }
  return product;
}

std::shared_ptr<const Function> stand_in(const RecordedCall& call) {
  for (const Implementation& one : implementations_of(call, csr())) {
    if (one.function) return one.function;
  }
  throw Refused{"no sparse convolution stands in for it here"};
}

std::shared_ptr<const Function> compiled(const RecordedCall& call, const FusedProduct& product,
                                         const ObjectCache& objects) {
  const std::string compiler = kernels::vendor::compiler_identity();
  const auto layout = conv2d_source_layout(product, call.inputs[0].shape()[0], device_here());
  const auto source = conv2d_source(product, layout, CompiledConv2d::target());
  const auto load = [&](const std::string& object) { return CompiledConv2d(source, object); };
  return std::make_shared<CompiledConv2dFunction>(loaded_or_compiled(source.text, compiler, objects, load),
                                                  product.shape,
                                                  product.pool ? kernels::ConvPool::halves : kernels::ConvPool::none);
}

// The layout is chosen for the GPU that is modelled before anything is done: what it refuses is told.
Implementation compiled_or_modelled(const RecordedCall& call, const CompileOptions& options) {
  Implementation one{.format = std::string(kCompiledConv2d), .library = compiler_of(options)};
  const auto product = std::make_shared<const FusedProduct>(product_to_compile(call));
  one.weight_bytes = std::int64_t(kInstructionBytes) * std::int64_t(product->values.size());
  one.work = [product, batch = call.inputs[0].shape()[0]](const GpuModel& gpu) {
    return work_of_code(gpu, *product, batch);
  };
  if (options.gpu) {
    one.work(*options.gpu);
    one.function = stand_in(call);
  } else if (simt::kEmulated) {
    throw Refused{"a CPU has too few vector registers to share what it reads among filters"};
  } else {
    one.function = compiled(call, *product, options.objects);
  }
  return one;
}

}  // namespace

Tensor CompiledConv2dFunction::forward(const Tensors& inputs, Context&) const {
  check_input(*this, inputs[0], shape);
  Tensor y = output_of(shape, pool);
  convolution(shape.batch, inputs[0].data<float>(), y.data<float>(), current_stream());
  return y;
}

Tensors CompiledConv2dFunction::backward(const Tensor&, const Context&) const {
  throw InvalidArgument(std::string(name()) + ": a plan has no backward; train the model it was compiled from");
}

Implementation compile_conv2d(const RecordedCall& call, const CompileOptions& options) {
  return or_refused(std::string(kCompiledConv2d), compiler_of(options),
                    [&] { return compiled_or_modelled(call, options); });
}

}  // namespace espalier::pruning
