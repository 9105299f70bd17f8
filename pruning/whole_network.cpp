#include "pruning/whole_network.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/require.h"
#include "pruning/compiled_plan.h"
#include "pruning/fused_plan.h"
#include "pruning/whole_network_work.h"

namespace espalier::pruning {
namespace {

MeasuredImplementation told(const Implementation& one) {
  return {.format = one.format, .library = one.library, .note = one.not_eligible, .weight_bytes = one.weight_bytes};
}

std::int64_t bytes_of(const Implementation& one) {
  const auto& function = dynamic_cast<const WholeNetworkFunction&>(*one.function);
  return one.weight_bytes + 4 * (function.input.size() + function.output.size());
}

// All of them with their times, the layers last.
std::vector<MeasuredImplementation> rivals(const std::vector<WholeNetwork>& networks, const std::vector<Timing>& times,
                                           int nodes) {
  std::vector<MeasuredImplementation> all;
  std::size_t next = 0;
  for (const WholeNetwork& network : networks) {
    MeasuredImplementation one = told(network.implementation);
    if (network.implementation.function) {
      one.timing = times[next++], one.us = one.timing.median_us, one.launches = 1;
      one.bytes = bytes_of(network.implementation), one.limit_us = network.limit_us;
    }
    all.push_back(std::move(one));
  }
  all.push_back({.format = "",
                 .library = "layer by layer",
                 .us = times.back().median_us,
                 .launches = nodes,
                 .timing = times.back()});
  return all;
}

// The model's time for a network that runs here; on the GPU that is to be modelled it must be possible, too.
template <class WorkOf>
void set_limit(WholeNetwork& network, const Trace& traced, const CompileOptions& options, const WorkOf& work_of) {
  const GpuModel* const gpu = datasheet(options);
  if (!gpu || !network.implementation.function) return;
  NetworkChain chain = chain_of(traced);
  read_weights(chain, traced);
  try {
    network.limit_us = modelled_time(*gpu, work_of(*gpu, chain.products, chain.input[0])).us;
  } catch (const InvalidArgument& error) {
    if (options.gpu) network.implementation.function = nullptr, network.implementation.not_eligible = error.what();
  }
}

}  // namespace

Tensors WholeNetworkFunction::backward(const Tensor&, const Context&) const {
  throw InvalidArgument(std::string(name()) + ": a plan has no backward; train the model it was compiled from");
}

void WholeNetworkFunction::require_input(const Tensors& inputs) const {
  require(inputs[0].shape() == input, std::string(name()), ": input ", inputs[0].shape().to_string(), ", compiled for ",
          input.to_string());
}

std::vector<WholeNetwork> whole_networks(const Trace& traced, const CompileOptions& options) {
  std::vector<WholeNetwork> found;
  for (const Candidate& candidate : options.candidates) {
    const bool first = options.selection == Selection::first_format && &candidate == options.candidates.data();
    if (std::holds_alternative<FusedNetworkCandidate>(candidate)) {
      found.push_back({fuse_network(traced), first});
      set_limit(found.back(), traced, options, fused_network_work);
    } else if (std::holds_alternative<CompiledNetworkCandidate>(candidate)) {
      found.push_back({compile_network(traced, options.objects), first});
      set_limit(found.back(), traced, options, compiled_network_work);
    }
  }
  return found;
}

PlanStep whole_network_step(const std::vector<WholeNetwork>& networks, std::size_t chosen,
                            const std::vector<Timing>& times, const std::vector<PlanStep>& layers, int nodes) {
  PlanStep step{.layer = "network", .candidates = rivals(networks, times, nodes), .chosen = chosen, .launches = 1};
  std::int64_t weights = 0;
  for (const PlanStep& layer : layers) {
    weights += layer.size.weights(), step.nonzeros += layer.nonzeros;
    step.macs += layer.macs, step.macs_kept += layer.macs_kept;
    step.candidates.back().weight_bytes += layer.weight_bytes, step.candidates.back().bytes += layer.bytes;
  }
  MeasuredImplementation& taken = step.candidates[chosen];
  step.whole_network = true;
  step.sparsity = 1.0 - double(step.nonzeros) / double(weights);
  step.format = taken.format, step.implementation = taken.library;
  step.us = *taken.us, step.timing = taken.timing;
  step.weight_bytes = taken.weight_bytes, step.bytes = taken.bytes, step.limit_us = taken.limit_us;
  step.reason = fmt::format("one launch for all layers; layer by layer {:.1f} µs in {}", times.back().median_us, nodes);
  for (std::size_t i = 0; i < step.candidates.size(); ++i) {
    MeasuredImplementation& other = step.candidates[i];
    if (i != chosen && other.us) {
      other.note =
          fmt::format("{:.2f}x the time of {}", *other.us / step.us, networks.size() > 1 ? taken.format : "one launch");
    }
  }
  return step;
}

void note_whole_networks(const std::vector<WholeNetwork>& networks, const std::vector<Timing>& times,
                         std::vector<PlanStep>& layers) {
  const auto product =
      std::find_if(layers.begin(), layers.end(), [](const PlanStep& step) { return !step.candidates.empty(); });
  if (product == layers.end()) return;
  std::size_t next = 0;
  for (const WholeNetwork& network : networks) {
    product->candidates.push_back(told(network.implementation));
    if (!network.implementation.function) continue;
    product->candidates.back().note =
        fmt::format("the whole network in one launch takes {:.1f} µs, layer by layer {:.1f} µs",
                    times[next++].median_us, times.back().median_us);
  }
}

}  // namespace espalier::pruning
