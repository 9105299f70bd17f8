#include "pruning/product_work.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/fnv.h"
#include "kernels/require.h"
#include "layers/conv_pool.h"
#include "layers/dense.h"

namespace espalier::pruning {
namespace {

constexpr double kDenseRate = 0.9, kTensorRate = 0.75;
constexpr double kRowsOfBlock = 128;     // that share a slab of x in shared memory
constexpr double kCachedFraction = 0.7;  // of the second level, which a working set may fill
constexpr double kCsrBytes = 6;          // value and index

bool fits_in_l2(const GpuModel& gpu, double bytes) { return bytes < kCachedFraction * gpu.l2_mebibytes * 1024 * 1024; }

// Of the pattern of zeros, one bit a weight.
std::uint64_t mask_hash(const Tensor& weight) {
  kernels::Fnv1a hash;
  unsigned byte = 0, bits = 0;
  const auto take = [&] { hash.add(static_cast<unsigned char>(byte)), byte = bits = 0; };
  for (const float value : weight.to_host()) {
    byte |= unsigned(value != 0.0f) << bits;
    if (++bits == 8) take();
  }
  take();
  return hash.value;
}

}  // namespace

KernelWork moving(const GpuModel& gpu, double bytes) {
  KernelWork work;
  work.l2_bytes = bytes / kMemoryRate;
  if (!fits_in_l2(gpu, bytes)) work.dram_bytes = bytes / kMemoryRate;
  return work;
}

ProductSize product_size(const RecordedCall& product) {
  const Tensor &x = product.inputs[0], &weight = product.inputs[1];
  const std::int64_t rows = weight.shape()[0], batch = x.shape()[0];
  ProductSize size{.rows = rows, .columns = weight.size() / rows, .positions = batch, .input_bytes = x.bytes()};
  size.output_bytes = 4 * rows * batch;
  if (const auto* convolution = convolution_of(*product.function)) {
    const kernels::Conv2dShape shape = convolution->shape_for(x.shape(), weight.shape());
    size.positions = batch * shape.out_height() * shape.out_width();
    const bool pooled = takes_in_pool(*product.function);
    const std::int64_t pixels =
        pooled ? (shape.out_height() / 2) * (shape.out_width() / 2) : shape.out_height() * shape.out_width();
    size.output_bytes = 4 * rows * batch * pixels;
  }
  return size;
}

bool has_products(const GpuModel& gpu, Precision precision) {
  return precision == Precision::fp32 || precision == Precision::fp16 || gpu.tf32_tflops > 0;  // bf16 came with tf32
}

ModelledTime modelled_time(const GpuModel& gpu, const ProductSize& size, const ProductWork& work) {
  require(has_products(gpu, work.precision), std::string(gpu.name), " has no products in ",
          std::string(to_string(work.precision)));
  const double macs = work.stored * double(size.positions), x = double(size.input_bytes);
  KernelWork kernel = moving(gpu, x + double(size.output_bytes) + work.weight_bytes);
  if (work.precision == Precision::fp32) {
    kernel.fp32_warp_instructions = macs / 32 / (work.dense ? kDenseRate : kSparseRate);
  } else {
    kernel.tensor_flops = 2 * macs / kTensorRate;
    kernel.tensor_type = work.precision == Precision::tf32 ? TensorType::tf32 : TensorType::half;
  }
  if (!work.dense) {
    const double slabs = std::ceil(double(size.rows) / kRowsOfBlock);
    kernel.l2_bytes = std::max(kernel.l2_bytes, slabs * x * work.x_bytes / sizeof(float) / kMemoryRate);
    if (work.precision == Precision::fp32) {
      kernel.l1_wavefronts = work.x_bytes * macs / work.rows_sharing / 128 / kMemoryRate;
    }
  }
  return modelled_time(gpu, kernel, work.launches * kGraphNodeFloorUs);
}

double speed_limit_us(const GpuModel& gpu, const ProductSize& size, std::int64_t nonzeros) {
  const ProductWork dense{.stored = double(size.weights()), .weight_bytes = 4.0 * double(size.weights())};
  const ProductWork csr{.dense = false, .stored = double(nonzeros), .weight_bytes = kCsrBytes * double(nonzeros)};
  return std::min(modelled_time(gpu, size, dense).us, modelled_time(gpu, size, csr).us);
}

double modelled_copy_us(const GpuModel& gpu, double bytes, int launches) {
  return launches == 0 ? 0 : modelled_time(gpu, moving(gpu, bytes), launches * kGraphNodeFloorUs).us;
}

std::string fingerprint(const RecordedCall& product) {
  const auto& function = dynamic_cast<const ProductFunction&>(*product.function);
  std::string text = fmt::format("{}, x {}, weight {}", function.name(), product.inputs[0].shape().to_string(),
                                 product.inputs[1].shape().to_string());
  if (const auto* c = convolution_of(function)) {
    text +=
        fmt::format(", stride {}, padding {}, dilation {}, groups {}", c->stride, c->padding, c->dilation, c->groups);
  }
  return text + fmt::format(", {}, activation {}, {}, zeros {:016x}", product.inputs.size() > 2 ? "bias" : "no bias",
                            int(function.activation), to_string(function.precision), mask_hash(product.inputs[1]));
}

}  // namespace espalier::pruning
