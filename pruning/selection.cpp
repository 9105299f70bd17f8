#include "pruning/selection.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/device/device_info.h"
#include "core/device/graph.h"
#include "kernels/elementwise.h"
#include "kernels/vendor/blas.h"
#include "kernels/vendor/sparse.h"
#include "layers/conv_pool.h"
#include "layers/product.h"
#include "pruning/compiled_conv2d.h"
#include "pruning/format.h"
#include "pruning/reason.h"

namespace espalier::pruning {
namespace {

Tensors inputs_of(const Implementation& implementation, const RecordedCall& call) {
  return implementation.takes_weight ? call.inputs : Tensors{call.inputs[0]};
}

// As the plan will run it: captured, with its memory reserved.
Graph captured(const Implementation& implementation, const RecordedCall& call) {
  return Graph([function = implementation.function, inputs = inputs_of(implementation, call)] {
    Context context{.recording = false};
    function->forward(inputs, context);
  });
}

std::string label_of(const RecordedCall& call) {
  const auto* product = dynamic_cast<const ProductFunction*>(call.function.get());
  return product ? product->label : std::string(call.function->name());
}

std::vector<Implementation> implementations(const RecordedCall& product, const CompileOptions& options) {
  std::vector<Implementation> found;
  for (const Candidate& candidate : options.candidates) {
    for (Implementation& one : implementations_of(product, candidate)) found.push_back(std::move(one));
    if (std::holds_alternative<CompiledConv2dCandidate>(candidate) && convolution_of(*product.function)) {
      found.push_back(compile_conv2d(product, options));
    }
  }
  if (options.selection == Selection::fastest) return found;
  const auto first = std::find_if(found.begin(), found.end(), [](const auto& one) { return one.function != nullptr; });
  if (first == found.end()) return found;
  const std::string format = first->format;
  std::erase_if(found, [&](const Implementation& one) { return one.function && one.format != format; });
  return found;
}

ProductWork work_of(const Implementation& one, const PlanStep& step, int launches) {
  const bool dense = one.format == "dense";
  const std::int64_t stored = one.stored > 0 ? one.stored : dense ? step.size.weights() : step.nonzeros;
  return {.dense = dense,
          .stored = double(stored),
          .weight_bytes = double(one.weight_bytes),
          .rows_sharing = one.rows_sharing,
          .x_bytes = one.x_bytes,
          .precision = one.precision,
          .launches = launches};
}

double modelled_us(const GpuModel& gpu, const Implementation& one, const PlanStep& step, int launches) {
  if (one.work) return modelled_time(gpu, one.work(gpu), launches * kGraphNodeFloorUs).us;
  return modelled_time(gpu, step.size, work_of(one, step, launches)).us;
}

std::string question_about(const RecordedCall& call, const std::vector<MeasuredImplementation>& candidates,
                           const CompileOptions& options) {
  std::string question = fmt::format("{}\n{}\n{} rounds of {} ms\n", measured_on(), fingerprint(call), options.rounds,
                                     options.timing.budget_ms);
  for (const auto& one : candidates) question += fmt::format("{}, {}, {}\n", one.format, one.library, one.note);
  return question;
}

void set_times(std::vector<MeasuredImplementation>& candidates, const std::vector<CachedTime>& times) {
  auto time = times.begin();
  for (MeasuredImplementation& one : candidates) {
    if (!one.note.empty()) continue;  // not eligible
    one.timing = time->timing, one.us = time->timing.median_us, one.launches = time->launches;
    ++time;
  }
}

using Ways = std::vector<const Implementation*>;  // those that are eligible

std::vector<CachedTime> measure(const Ways& ways, const RecordedCall& call, const CompileOptions& options) {
  std::vector<Graph> graphs;
  std::vector<TimedWork> works;
  for (const Implementation* one : ways) graphs.push_back(captured(*one, call));
  for (std::size_t i = 0; i < ways.size(); ++i) {
    works.push_back({label_of(call), ways[i]->format, ways[i]->library, [&graph = graphs[i]] { graph.launch(); }});
  }
  std::vector<CachedTime> times;
  for (const Timing& timing : time_in_turns(works, options)) {
    times.push_back({timing, int(graphs[times.size()].node_count())});
  }
  return times;
}

std::vector<CachedTime> model(const Ways& ways, const RecordedCall& call, const PlanStep& step, const GpuModel& gpu) {
  std::vector<CachedTime> times;
  for (const Implementation* one : ways) {
    const int launches = one->launches ? one->launches(gpu) : int(captured(*one, call).node_count());
    times.push_back({{.median_us = modelled_us(gpu, *one, step, launches)}, launches});
  }
  return times;
}

std::vector<CachedTime> measure_or_recall(const Ways& ways, const RecordedCall& call, const PlanStep& step,
                                          const CompileOptions& options) {
  const std::string question = options.cache.on() ? question_about(call, step.candidates, options) : "";
  if (const auto known = options.cache.find(question); known && known->size() == ways.size()) return *known;
  std::vector<CachedTime> times = measure(ways, call, options);
  options.cache.store(question, times);
  return times;
}

// Why what is to be measured, or the GPU that is to be modelled, cannot do it; empty: it can.
std::string why_not(const Implementation& one, const CompileOptions& options) {
  if (!options.gpu) return one.only_on_gpus;
  if (!has_products(*options.gpu, one.precision)) return fmt::format("{} has no such products", options.gpu->name);
  const bool stand_in = one.library == kernels::vendor::blas_name() || one.library == kernels::vendor::sparse_name();
  return simt::kEmulated && stand_in ? "this build has no library of a GPU" : "";
}

// The candidates with their times, or why they have none.
void judge(PlanStep& step, std::vector<Implementation>& found, const RecordedCall& call,
           const CompileOptions& options) {
  const std::int64_t around =
      step.size.input_bytes + step.size.output_bytes + (call.inputs.size() > 2 ? 4 : 0) * step.size.rows;
  const GpuModel* const gpu = datasheet(options);
  Ways ways;
  for (Implementation& one : found) {
    if (const std::string reason = why_not(one, options); one.function && !reason.empty()) {
      one.function = nullptr, one.not_eligible = reason;
    }
    step.candidates.push_back({.format = one.format,
                               .library = one.library,
                               .note = one.not_eligible,
                               .weight_bytes = one.weight_bytes,
                               .bytes = one.weight_bytes + around});
    if (!one.function) continue;
    ways.push_back(&one);
    if (gpu) step.candidates.back().limit_us = modelled_us(*gpu, one, step, 1);
  }
  set_times(step.candidates,
            options.gpu ? model(ways, call, step, *options.gpu) : measure_or_recall(ways, call, step, options));
}

void take(PlanStep& step, std::size_t chosen) {
  const MeasuredImplementation& winner = step.candidates[chosen];
  step.chosen = chosen;
  step.format = winner.format, step.implementation = winner.library, step.us = *winner.us;
  step.weight_bytes = winner.weight_bytes, step.bytes = winner.bytes;
  step.launches = winner.launches, step.timing = winner.timing, step.limit_us = winner.limit_us;
}

std::int64_t nonzeros_of(const Tensor& weight) { return Csr::encode(weight).view().nonzeros; }

PlanStep step_of(const RecordedCall& product) {
  const Tensor& weight = product.inputs[1];
  PlanStep step{.layer = label_of(product),
                .format = "dense",
                .implementation = "as recorded",
                .takes_in = takes_in_pool(*product.function) ? "max_pool2d" : "",
                .weight_bytes = weight.bytes()};
  step.size = product_size(product);
  step.nonzeros = nonzeros_of(weight);
  step.macs = step.size.macs(), step.macs_kept = step.nonzeros * step.size.positions;
  step.sparsity = 1.0 - double(step.nonzeros) / double(weight.size());
  step.bytes = step.weight_bytes + step.size.input_bytes + step.size.output_bytes;
  return step;
}

}  // namespace

std::vector<Timing> time_in_turns(const std::vector<TimedWork>& works, const CompileOptions& options) {
  std::vector<Timing> best(works.size());
  for (int round = 0; round < options.rounds; ++round) {
    for (std::size_t i = 0; i < works.size(); ++i) {
      const Timing timing =
          options.timer ? options.timer(works[i], options.timing) : benchmark(works[i].run, options.timing);
      if (round == 0 || timing.median_us < best[i].median_us) best[i] = timing;
    }
  }
  return best;
}

const GpuModel* datasheet(const CompileOptions& options) {
  return options.gpu ? options.gpu : gpu_model_of(device_info().name);
}

double launch_floor_us(const CompileOptions& options) {
  if (options.floor_us) return *options.floor_us;
  if (options.gpu) return kGraphNodeFloorUs;
  const std::string question = options.cache.on() ? "nothing but a launch\n" + measured_on() : "";
  if (const auto known = options.cache.find(question); known && known->size() == 1) {
    return known->front().timing.median_us;
  }
  const Tensor one = Tensor::empty({1});
  const Graph graph([&] { kernels::fill(1, 0.0f, one.data<float>(), current_stream()); });
  const Timing timing = time_in_turns({{"nothing", "", "", [&] { graph.launch(); }}}, options)[0];
  options.cache.store(question, {{timing, 1}});
  return timing.median_us;
}

Choice choose(const RecordedCall& product, const CompileOptions& options) {
  std::vector<Implementation> found = implementations(product, options);
  PlanStep step = step_of(product);
  judge(step, found, product, options);
  const auto best = fastest(step.candidates);
  if (!best) {
    Choice recorded = keep(product, options);
    step.us = recorded.step.us, step.timing = recorded.step.timing, step.launches = recorded.step.launches;
    if (options.gpu) {
      const double weights = double(step.size.weights());
      const ProductWork as_it_is{.stored = weights, .weight_bytes = 4 * weights, .launches = step.launches};
      step.us = modelled_time(*options.gpu, step.size, as_it_is).us;
    }
    step.reason = "no candidate is eligible";
    return {step, recorded.implementation};
  }
  take(step, *best);
  const double floor_us = launch_floor_us(options);
  step.reason = why(step, floor_us);
  for (std::size_t i = 0; i < step.candidates.size(); ++i) {
    if (i != *best && step.candidates[i].us) step.candidates[i].note = why_not(step, i, floor_us);
  }
  Choice choice{step, found[*best]};
  if (const auto dense = fastest_dense(step.candidates)) choice.fastest_dense = found[*dense];
  return choice;
}

Choice keep(const RecordedCall& call, const CompileOptions& options) {
  const Implementation recorded{
      .format = "", .library = "as recorded", .function = call.function, .takes_weight = true};
  PlanStep step{.layer = std::string(call.function->name()), .implementation = "as recorded"};
  for (const Tensor& input : call.inputs) step.bytes += input.bytes();
  if (call.output.defined()) step.bytes += call.output.bytes();
  const Graph graph = captured(recorded, call);
  step.launches = int(graph.node_count());
  if (const GpuModel* gpu = datasheet(options))
    step.limit_us = modelled_copy_us(*gpu, double(step.bytes), step.launches);
  if (options.gpu) {
    step.us = *step.limit_us;
  } else {
    step.timing = time_in_turns({{step.layer, "", "as recorded", [&] { graph.launch(); }}}, options)[0];
    step.us = step.timing.median_us;
  }
  return {step, recorded};
}

Choice made_dense(const Choice& choice, const std::string& reason) {
  if (!choice.fastest_dense || choice.step.format == "dense") return choice;
  Choice dense{choice.step, *choice.fastest_dense, choice.fastest_dense};
  dense.step.candidates[*choice.step.chosen].note = reason;
  take(dense.step, *fastest_dense(choice.step.candidates));
  dense.step.candidates[*dense.step.chosen].note = "";
  dense.step.reason = reason;
  return dense;
}

}  // namespace espalier::pruning
