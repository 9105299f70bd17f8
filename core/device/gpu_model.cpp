#include "core/device/gpu_model.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <string>

#include "kernels/require.h"

namespace espalier {
namespace {

// NVIDIA's datasheets and whitepapers (A100 80 GB SXM, H100 SXM, RTX 4090, T4); boost clocks.
constexpr GpuModel kModels[] = {
    {"a100", "A100", 108, 1.41, 64, 156, 312, 2.04, 4.8, 40, 128, 163},
    {"h100", "H100", 132, 1.83, 128, 494, 989, 3.35, 5.5, 50, 128, 227},
    {"4090", "RTX 4090", 128, 2.52, 128, 82.6, 165, 1.008, 5.0, 72, 128, 99},
    {"t4", "T4", 40, 1.59, 64, 0, 65, 0.32, 1.25, 4, 64, 64},
};
constexpr double kWarp = 32, kSchedulers = 4, kWavefrontBytes = 128;

bool is_word(std::string_view text, std::size_t at, std::size_t length) {
  const auto letter = [&](std::size_t i) {
    return i < text.size() && std::isalnum(static_cast<unsigned char>(text[i]));
  };
  return (at == 0 || !letter(at - 1)) && !letter(at + length);
}

}  // namespace

std::span<const GpuModel> gpu_models() { return kModels; }

const GpuModel& gpu_model(std::string_view id) {
  std::string known;
  for (const GpuModel& model : kModels) {
    if (model.id == id) return model;
    known += (known.empty() ? "" : ", ") + std::string(model.id);
  }
  require(false, "no model of the GPU ", std::string(id), "; there are ", known);
  return kModels[0];
}

const GpuModel* gpu_model_of(std::string_view device) {
  for (const GpuModel& model : kModels) {
    const std::size_t at = device.find(model.name);
    if (at != std::string_view::npos && is_word(device, at, model.name.size())) return &model;
  }
  return nullptr;
}

KernelWork ideal_work(double flops, double bytes) {
  KernelWork work;
  work.fp32_warp_instructions = flops / 2 / kWarp;
  work.l2_bytes = work.dram_bytes = bytes;
  return work;
}

std::string_view to_string(Bound bound) {
  constexpr std::string_view names[kBounds] = {"issue", "fp32", "l1", "l2", "dram", "tensor", "floor"};
  return names[int(bound)];
}

ModelledTime modelled_time(const GpuModel& gpu, const KernelWork& work, double floor_us) {
  const double sms = gpu.multiprocessors;
  const double fullest = work.blocks > 0 ? std::ceil(work.blocks / sms) / work.blocks : 1 / sms;  // share of the work
  const double per_us = 1e3 * gpu.gigahertz / fullest;  // cycles a microsecond, for all the work of a pipe
  const double tflops = work.tensor_type == TensorType::tf32 ? gpu.tf32_tflops : gpu.half_tflops;
  require(work.tensor_flops == 0 || tflops > 0, std::string(gpu.name), " has no tensor cores for this type");

  ModelledTime time;
  auto& term = time.terms_us;
  term[int(Bound::issue)] = work.warp_instructions / kSchedulers / per_us;
  term[int(Bound::fp32)] = work.fp32_warp_instructions * kWarp / gpu.fp32_lanes / per_us;
  term[int(Bound::l1)] = work.l1_wavefronts * kWavefrontBytes / gpu.l1_bytes_a_cycle / per_us;
  term[int(Bound::l2)] = work.l2_bytes / (1e6 * gpu.l2_terabytes);
  term[int(Bound::dram)] = work.dram_bytes / (1e6 * gpu.dram_terabytes);
  term[int(Bound::tensor)] = work.tensor_flops > 0 ? work.tensor_flops / (1e6 * tflops) * (fullest * sms) : 0;
  const double busiest = *std::max_element(term.begin(), term.end());
  term[int(Bound::floor)] = floor_us;
  time.us = busiest + floor_us;
  time.bound = Bound(std::max_element(term.begin(), term.end()) - term.begin());
  return time;
}

}  // namespace espalier
