// What a PTX emulator counted while a kernel ran, beside what the shape asks for at least, and the time that the counts
// allow on GPUs that are not here (core/device/gpu_model.h): modelled, never measured.
//
// The file is JSON: {"kernels": [{name, grid, block, launches, warp_instructions, thread_flops, tensor_flops, classes:
// {fp32_fma, fp32_add, fp32_mul, move, param_load, tensor_mma}, global_load and global_store: {requests, sectors,
// ideal_sectors, unique_bytes}, shared_load and shared_store: {wavefronts, ideal_wavefronts}, l1_128k_miss_sectors,
// ...}]}, each count summed over the launches; or {"cases": [{"name": ..., "kernels": [...]}]}, where the names are
// those of --list, and what preparing the operands took has been subtracted (apps/kernel_counters.py).
#pragma once
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "apps/benchmarks/case.h"
#include "core/device/gpu_model.h"

namespace espalier::benchmarks {

struct KernelCounters {
  std::string kernel;  // "tiled_product_kernel"
  std::string size;    // "64 x 256": blocks and threads
  double blocks = 0, launches = 1;
  // of one launch
  double warp_instructions = 0, moves = 0, fma = 0, fp32 = 0, mma = 0, flops = 0, tensor_flops = 0;
  double sectors = 0, ideal_sectors = 0, unique_bytes = 0, l2_bytes = 0;
  double wavefronts = 0, ideal_wavefronts = 0, global_wavefronts = 0;

  // The instructions of the hardware are fewer than PTX's: moves and parameter loads vanish.
  KernelWork work(TensorType type) const;
};

struct CountedCase {
  std::string name;           // empty: the file does not tell
  const Case* one = nullptr;  // null: not known
  std::vector<KernelCounters> kernels;
};

// Throws FileError where the file cannot be read or is no such JSON.
std::vector<CountedCase> read_counters(const std::filesystem::path& file, const Cases& cases);

std::string to_markdown(const std::vector<CountedCase>& counted);  // two tables: counts, modelled times
nlohmann::json to_json(const std::vector<CountedCase>& counted);

}  // namespace espalier::benchmarks
