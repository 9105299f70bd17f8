#include "pruning/whole_network_work.h"

#include <algorithm>

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/sparse/network_source.h"

namespace espalier::pruning {
namespace {

using kernels::FusedProduct;
using kernels::NetworkSource;
constexpr double kWarp = 32, kInstructionBytes = 16;

struct Work {
  double macs = 0, single_macs = 0;  // of an image; those of them in layers with one output per row
  double nonzeros = 0, inputs = 0, outputs = 0;
};

Work work_of(std::span<const FusedProduct> products) {
  Work work;
  for (const FusedProduct& product : products) {
    const std::int64_t uses = product.shape.out_height() * product.shape.out_width();
    const double macs = double(product.values.size()) * double(uses);
    work.macs += macs, work.single_macs += uses == 1 ? macs : 0;
    work.nonzeros += double(product.values.size());
  }
  work.inputs = double(products.front().shape.input_size() / products.front().shape.batch);
  work.outputs = double(products.back().out_size());
  return work;
}

double used_multiprocessors(const GpuModel& gpu, double blocks) {
  return std::min(blocks, double(gpu.multiprocessors));
}

}  // namespace

KernelWork fused_network_work(const GpuModel& gpu, std::span<const FusedProduct> products, std::int64_t batch) {
  const int images = kernels::fused_images(products, batch, gpu.shared_kibibytes * 1024, gpu.multiprocessors,
                                           kernels::SparseTeam::warp);
  require(images > 0, "its activations need more shared memory than a block of ", std::string(gpu.name), " has");
  const Work one = work_of(products);
  const double lanes = double(kernels::ceil_div<std::int64_t>(batch, images)) * images;  // images, empty ones too
  const double warp_macs = lanes * one.macs / kWarp, rows = lanes * one.single_macs / kWarp;
  KernelWork work = moving(gpu, 4 * double(batch) * (one.inputs + one.outputs));
  work.blocks = lanes / images;
  work.fp32_warp_instructions = warp_macs / kSparseRate;
  work.l1_wavefronts = (warp_macs + rows + (warp_macs - rows) / 4) / kMemoryRate;
  work.l2_bytes += 8 * one.nonzeros * used_multiprocessors(gpu, work.blocks) / kMemoryRate;
  return work;
}

KernelWork compiled_network_work(const GpuModel& gpu, std::span<const FusedProduct> products, std::int64_t batch) {
  const NetworkSource source = network_source(products, kernels::SourceTarget::cuda);
  const double blocks = double(kernels::ceil_div<std::int64_t>(batch, NetworkSource::kImages));
  // A map in the scratch is written and read at least once.
  const double bytes =
      4 * (double(batch) * double(source.inputs + source.outputs) + 2 * blocks * double(source.memory));
  KernelWork work = moving(gpu, bytes);
  work.blocks = blocks;
  work.fp32_warp_instructions = blocks * double(source.products) / kSparseRate;
  work.warp_instructions = blocks * double(source.products + source.loads);
  work.l1_wavefronts = blocks * double(source.loads) / kMemoryRate;
  work.l2_bytes += kInstructionBytes * 2 * double(source.nonzeros) * used_multiprocessors(gpu, blocks) / kMemoryRate;
  return work;
}

}  // namespace espalier::pruning
