// What a network in one launch would ask of a GPU, for core/device/gpu_model.h: counted from the kernels' own tables
// and text, at the rates of product_work.h. A speed limit, not a forecast.
//   fused csr   a wavefront of shared memory for each warp-wide multiply-add, and one more for its weight, or a quarter
//               where a thread sums 2 x 2 outputs; a block is a multiprocessor's share of the batch
//   compiled    a wavefront for each read that the text has left; instructions come from the second level once for each
//               multiprocessor; maps that shared memory does not hold are written and read there
#pragma once
#include <span>

#include "kernels/sparse/fused_network.h"
#include "pruning/product_work.h"

namespace espalier::pruning {

// Throws InvalidArgument where the GPU's shared memory does not hold one image's activations.
KernelWork fused_network_work(const GpuModel& gpu, std::span<const kernels::FusedProduct> products, std::int64_t batch);

// Throws InvalidArgument where the generator refuses the network.
KernelWork compiled_network_work(const GpuModel& gpu, std::span<const kernels::FusedProduct> products,
                                 std::int64_t batch);

}  // namespace espalier::pruning
