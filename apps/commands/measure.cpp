#include "apps/commands/measure.h"

#include <fmt/core.h>

#include <random>
#include <span>

#include "apps/commands/output.h"
#include "apps/commands/table.h"
#include "core/device/timer.h"
#include "core/tensor/tensor.h"
#include "pruning/plan.h"

namespace espalier::apps {
namespace {

constexpr BenchmarkOptions kTiming{.warmup = 2, .min_repeats = 10, .max_repeats = 500, .budget_ms = 360};

Tensor random_images(const Shape& shape) {
  std::mt19937 engine(1);
  std::vector<float> values(std::size_t(shape.size()));
  for (float& value : values) value = float(engine() >> 8) * 0x1p-24f;
  return Tensor::from(shape, std::span<const float>(values));
}

// "csr" or "dense" for each product in order, and a row with the reason for each.
std::string add_choices(Table& table, const pruning::Plan& plan, std::int64_t batch) {
  std::string formats;
  for (const pruning::PlanStep& step : plan.steps()) {
    if (step.candidates.empty()) continue;  // no product: there was nothing to choose
    formats += (formats.empty() ? "" : " ") + step.format;
    table.add({std::to_string(batch), step.layer, step.format, step.implementation, fmt::format("{:.1f}", step.us),
               step.reason});
  }
  return formats;
}

}  // namespace

Measurement measure(Module& model, const Shape& image, const std::vector<std::int64_t>& batches) {
  Measurement result;
  Table times({"batch", "dense µs", "pruned µs", "speed-up", "pruned images/s", "formats of the pruned plan"}, {5});
  Table choices({"batch", "layer", "format", "by", "µs", "reason"}, {1, 2, 3, 5});
  pruning::CompileOptions options{.objects = pruning::ObjectCache(pruning::user_object_cache())};
  options.candidates.push_back(pruning::compiled_conv2d());
  options.candidates.push_back(pruning::fused_network());
  options.candidates.push_back(pruning::compiled_network());
  for (const std::int64_t batch : batches) {
    const Tensor images = random_images({batch, image[0], image[1], image[2]});
    const pruning::Plan dense = pruning::compile(model, images.shape(), {.candidates = {pruning::dense()}});
    const pruning::Plan pruned = pruning::compile(model, images.shape(), options);
    dense.input().copy_from(images);
    pruned.input().copy_from(images);
    const PairedTiming pairs = benchmark_pair([&] { dense(dense.input()); }, [&] { pruned(pruned.input()); }, kTiming);
    const double dense_us = pairs.first.median_us, pruned_us = pairs.second.median_us;
    result.bench.push_back({{"batch", batch},
                            {"dense_us", dense_us},
                            {"pruned_us", pruned_us},
                            {"speedup", pairs.ratio},
                            {"timing", timing_name()}});
    times.add({std::to_string(batch), fmt::format("{:.1f}", dense_us), fmt::format("{:.1f}", pruned_us),
               fmt::format("{:.2f}x", pairs.ratio), fmt::format("{:.0f}", 1e6 * double(batch) / pruned_us),
               add_choices(choices, pruned, batch)});
    for (nlohmann::json row : nlohmann::json::parse(pruned.to_json())) {
      row["batch"] = batch;
      result.plan.push_back(std::move(row));
    }
  }
  result.times = times.to_string();
  result.choices = choices.to_string();
  return result;
}

}  // namespace espalier::apps
