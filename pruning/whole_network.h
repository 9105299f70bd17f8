// Networks that are computed as a whole, in one launch: what the candidates fused_network() and compiled_network() of a
// plan become, and how a plan shows them.
#pragma once
#include <string>
#include <vector>

#include "core/autograd/trace.h"
#include "pruning/selection.h"

namespace espalier::pruning {

// Serves the one input shape that it was made for; no backward.
struct WholeNetworkFunction : Function {
  WholeNetworkFunction(Shape x, Shape y) : input(std::move(x)), output(std::move(y)) {}
  Tensors backward(const Tensor& output_gradient, const Context& context) const override;
  Shape input, output;
  std::string made_with = {};  // if code was compiled: what else than the network its time depends on

 protected:
  void require_input(const Tensors& inputs) const;
};

struct WholeNetwork {
  Implementation implementation;                  // its function is null: not eligible
  bool wanted_first = false;                      // before any other candidate
  std::optional<double> limit_us = std::nullopt;  // the model's; none: no datasheet of this device
};

// Those among the candidates, of a traced network whose products have taken in what follows them.
std::vector<WholeNetwork> whole_networks(const Trace& traced, const CompileOptions& options);

// The network as one step in the place of `layers`, which launch so many nodes. `times` are those of the eligible ones
// of `networks` in their order, then that of the layers; `chosen` is one of `networks`.
PlanStep whole_network_step(const std::vector<WholeNetwork>& networks, std::size_t chosen,
                            const std::vector<Timing>& times, const std::vector<PlanStep>& layers, int nodes);

// Why each of them is not taken, told beside the first product of the layers that are.
void note_whole_networks(const std::vector<WholeNetwork>& networks, const std::vector<Timing>& times,
                         std::vector<PlanStep>& layers);

}  // namespace espalier::pruning
