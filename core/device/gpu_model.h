// What a launch would take on a GPU that is not here: modelled, never measured. Datasheet figures of four GPUs, and the
// bound of a kernel's counters on each: the busiest of its pipes sets the time.
//   us = max(issue, fp32, l1, l2, dram, tensor) + floor
//     issue   warp instructions / 4 a cycle and multiprocessor
//     fp32    warp-wide fp32 instructions / (lanes / 32) a cycle: 2 on T4 and A100, 4 on H100 and RTX 4090
//     l1      wavefronts of 128 bytes, of shared memory and of global accesses / 1 a cycle, 1/2 on T4
//     l2      bytes that leave the first-level cache / the second level's bandwidth
//     dram    bytes that leave the second level / the memory's bandwidth
//     tensor  tensor-core flops / their rate
// The first three and the tensor cores are shared out among the multiprocessors block by block, so the fullest one
// counts. It is a limit, not a forecast: latencies are taken as hidden, and well-made kernels reach 50 to 90 % of it.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace espalier {

struct GpuModel {
  std::string_view id, name;  // "a100" on the command line, "A100"
  int multiprocessors;
  double gigahertz;
  int fp32_lanes;                         // of a multiprocessor
  double tf32_tflops, half_tflops;        // dense tensor cores with fp32 sums; 0: none
  double dram_terabytes, l2_terabytes;    // per second; the second is assumed, no datasheet has it
  double l2_mebibytes, l1_bytes_a_cycle;  // of a multiprocessor
  int shared_kibibytes;                   // that a block may have
  double fp32_tflops() const { return 2e-3 * multiprocessors * fp32_lanes * gigahertz; }
};

std::span<const GpuModel> gpu_models();
const GpuModel& gpu_model(std::string_view id);         // throws InvalidArgument and lists the ids
const GpuModel* gpu_model_of(std::string_view device);  // by a device's name: "NVIDIA A100-SXM4-80GB"; null: unknown

enum class TensorType { tf32, half };

// What one launch asks for: counted by a PTX emulator or a profiler, or ideal.
struct KernelWork {
  double blocks = 0;  // 0: enough to fill the device evenly
  double warp_instructions = 0, fp32_warp_instructions = 0, l1_wavefronts = 0;
  double l2_bytes = 0, dram_bytes = 0, tensor_flops = 0;
  TensorType tensor_type = TensorType::half;
};

// What no implementation of so many flops and bytes can do without: the roofline.
KernelWork ideal_work(double flops, double bytes);

enum class Bound { issue, fp32, l1, l2, dram, tensor, floor };
inline constexpr int kBounds = 7;
std::string_view to_string(Bound bound);

struct ModelledTime {
  double us = 0;
  Bound bound = Bound::floor;                 // the largest term
  std::array<double, kBounds> terms_us = {};  // by Bound
};

inline constexpr double kGraphNodeFloorUs =
    1.5;  // that an empty node of a graph takes; a launch in a stream 2 to 3 more

ModelledTime modelled_time(const GpuModel& gpu, const KernelWork& work, double floor_us = kGraphNodeFloorUs);

}  // namespace espalier
