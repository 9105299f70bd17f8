#include "apps/benchmarks/measure.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/commands/table.h"
#include "core/device/device_info.h"
#include "core/device/stream.h"
#include "core/tensor/tensor.h"
#include "kernels/elementwise.h"

namespace espalier::benchmarks {
namespace {

constexpr BenchmarkOptions kTiming{.warmup = 2, .min_repeats = 5, .max_repeats = 500, .budget_ms = 20};
constexpr int kRounds = 3;

// Nothing in the emulation, whose times are the host's.
std::function<void()> flush(int mebibytes) {
  if (simt::kEmulated || mebibytes == 0) return {};
  const Tensor memory = Tensor::empty({mebibytes * (std::int64_t(1) << 18)});
  return [memory] { kernels::fill(memory.size(), 0.0f, memory.data<float>(), current_stream()); };
}

// In turns; of each the best round counts, so that a slow moment of the machine decides nothing.
std::vector<Timing> time_in_turns(const Variants& variants, int flush_mebibytes) {
  const std::function<void()> before_each = flush(flush_mebibytes);
  std::vector<Timing> best(variants.size());
  for (int round = 0; round < kRounds; ++round) {
    for (std::size_t i = 0; i < variants.size(); ++i) {
      const Timing timing = benchmark(variants[i].run, kTiming, before_each);
      if (round == 0 || timing.median_us < best[i].median_us) best[i] = timing;
    }
  }
  return best;
}

std::optional<double> roofline_us(const Case& one) {
  const GpuModel* const gpu = gpu_model_of(device_info().name);
  if (gpu == nullptr) return std::nullopt;
  KernelWork work = ideal_work(one.tensor ? 0 : one.flops, one.bytes);
  if (one.tensor) work.tensor_flops = one.flops, work.tensor_type = tensor_type_of(one);
  return modelled_time(*gpu, work, 0).us;
}

std::string figure(double value) { return value == 0 ? "" : fmt::format("{:.{}f}", value, value < 10 ? 2 : 1); }

}  // namespace

std::vector<Row> measure(const Case& one, int flush_mebibytes) {
  const Variants variants = one.prepare();
  const std::vector<Timing> timings = time_in_turns(variants, flush_mebibytes);
  std::vector<Row> rows;
  for (std::size_t i = 0; i < variants.size(); ++i) {
    Row row{one.kernel, one.shape, variants[i].by, timings[i]};
    const double us = row.timing.median_us;
    row.gflops = 1e-3 * one.flops / us, row.gigabytes_per_second = 1e-3 * one.bytes / us;
    if (const auto best = roofline_us(one)) row.roofline = *best / us;
    if (!rows.empty()) row.of_ours = us / rows[0].timing.median_us;
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string to_markdown(std::span<const Row> rows) {
  apps::Table table({"kernel", "shape", "by", "µs", "GFLOP/s", "GB/s", "of roofline", "ours faster"}, {1, 2});
  for (const Row& row : rows) {
    table.add({row.kernel, row.shape, row.by, figure(row.timing.median_us), figure(row.gflops),
               figure(row.gigabytes_per_second), row.roofline ? fmt::format("{:.0f} %", 100 * *row.roofline) : "-",
               row.of_ours ? fmt::format("{:.2f}x", *row.of_ours) : ""});
  }
  return table.to_markdown();
}

nlohmann::json to_json(std::span<const Row> rows) {
  nlohmann::json list = nlohmann::json::array();
  for (const Row& row : rows) {
    nlohmann::json one{{"kernel", row.kernel},
                       {"shape", row.shape},
                       {"by", row.by},
                       {"median_us", row.timing.median_us},
                       {"lower_quartile_us", row.timing.lower_quartile_us},
                       {"upper_quartile_us", row.timing.upper_quartile_us},
                       {"repeats", row.timing.repeats},
                       {"gflops", row.gflops},
                       {"gigabytes_per_second", row.gigabytes_per_second}};
    if (row.roofline) one["roofline_fraction"] = *row.roofline;
    if (row.of_ours) one["times_ours"] = *row.of_ours;
    list.push_back(std::move(one));
  }
  return list;
}

}  // namespace espalier::benchmarks
