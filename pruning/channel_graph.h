// A traced model with its channels numbered: which index of which axis of which tensor belongs to which channel.
// Indices that only fall together have the same number: a residual addition ties the channels of its two sides, a
// norm's gamma goes with what it scales, Flatten() hands a channel on to all features made of its map, a depthwise
// convolution hands each channel through, a grouped one ties those at the same place of every group (so that the groups
// stay of one size). After the dependency graph of Fang et al. 2023 (arXiv 2301.12900, section 3.2), read from a trace.
#pragma once
#include <string>
#include <vector>

#include "core/autograd/trace.h"
#include "layers/module.h"

namespace espalier::pruning {

struct ChannelGraph {
  struct Named {  // a parameter or buffer that the traced run has read
    std::string name;
    Tensor tensor;
    std::vector<std::vector<int>> channels;  // [axis][index]; empty: none of the axis can fall
  };
  Trace trace;                             // in evaluation mode
  std::vector<std::vector<int>> of_value;  // per value of the trace the channel of each index of axis 1
  std::vector<int> named_of_value;         // which of `named` a value is; -1: none
  std::vector<Named> named;
  std::size_t parameters = 0;             // of `named`: they come first, behind them the buffers
  std::vector<std::string> kept_because;  // per channel: why it cannot fall; empty: it can

  std::size_t channels() const { return kept_because.size(); }
  const Named* named_input(const Trace::Step& step, std::size_t input) const;  // null: there is none, or without name
};

std::string layer_of(const std::string& tensor);  // "conv2d_1" of "conv2d_1.weight"

// A product among the steps of a trace, in one form for dense layers and convolutions (1 x 1 maps, one group).
struct ChannelProduct {
  std::int64_t filters = 1, inputs = 1;  // inputs: that each filter reads, channels / groups
  std::int64_t taps = 1, positions = 1;  // of a kernel; of the output's map
  std::int64_t groups = 1, padding = 0;
  bool depthwise() const { return groups > 1 && inputs == 1; }
  std::int64_t filters_per_group() const { return filters / groups; }
};
bool is_channel_product(const Function& function);
ChannelProduct channel_product(const ChannelGraph& graph, const Trace::Step& step);

// Multiply-adds per image of all products when these channels are left; one entry for each channel of the graph.
std::int64_t macs(const ChannelGraph& graph, const std::vector<bool>& kept);

// What is left of a network when only these channels are: as shrink() would leave it, but for constants that it folds.
struct ChannelCount {
  std::int64_t weights = 0, parameters = 0, macs = 0;  // of products, of the model, per image
  std::int64_t bytes() const { return 4 * parameters; }
};
ChannelCount count_left(const ChannelGraph& graph, const std::vector<bool>& kept);

// Runs the model once on `input`, whose first axis is the batch. Values are random numbers in [-1, 1).
ChannelGraph channel_graph(Module& model, const Shape& input);

}  // namespace espalier::pruning
