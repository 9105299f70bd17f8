// Which channels of a model fall together, as a list that can be printed and tested: for each group of layers that
// share a width, what each of its channels takes along.
//   conv2d_1, 32 channels: made by conv2d_1.weight[0], conv2d_1.bias[0]; read by conv2d_2.weight[1]
#pragma once
#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor/shape.h"
#include "layers/module.h"
#include "pruning/channel_graph.h"

namespace espalier::pruning {

struct ChannelSlice {
  std::string tensor;                 // "dense_1.weight", or a buffer's name
  std::size_t axis = 0;               // 0: it makes or scales the channel, 1: it reads it
  std::vector<std::int64_t> indices;  // rising; several where a map was flattened, or a layer has groups
  bool operator==(const ChannelSlice&) const = default;
};

struct ChannelGroup {
  std::string name;          // of the first layer that makes it: "conv2d_1"
  std::string kept_because;  // why no channel of it can be removed; empty: they can
  std::vector<std::vector<ChannelSlice>> channels;
  std::vector<int> numbers;  // of the channels in the graph
};

std::vector<ChannelGroup> channel_groups(const ChannelGraph& graph);
std::vector<ChannelGroup> channel_groups(Module& model, const Shape& input);

std::string to_string(const std::vector<ChannelGroup>& groups);  // a list for people
std::string to_json(const std::vector<ChannelGroup>& groups);

}  // namespace espalier::pruning
