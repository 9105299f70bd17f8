// Which channels of a masked model can be taken out without a change of its outputs, and what becomes of the constants
// that they leave.
// A channel can fall where nobody who stays reads it: each reader's weights for it are zero, or it is one number
// whatever the input is (its own weights are zero: bias, batch-norm beta and activation make the number). The number is
// folded into the reader: into the bias, or, where the reader pads (it would see 0 outside, the number inside), into
// its weights for another constant channel that is kept: a channel c with weights w adds c * (w over the inside), so a
// kept channel k takes it over exactly with weights w * c / k, borders included, and the network stays an ordinary one.
// Soundness: in the order of execution every kept channel computes from kept ones and constants what it did before.
#pragma once
#include <cstdint>
#include <vector>

#include "pruning/channel_graph.h"

namespace espalier::pruning {

struct ConstantFold {
  std::size_t step = 0;          // the product that reads the constant
  std::int64_t input = 0;        // the channel (or feature) of its x that falls
  std::int64_t carrier = -1;     // the one that takes it over; -1: the bias does
  double value = 0, onto = 1.0;  // the constant, and the carrier's
};

struct Removal {
  std::vector<bool> kept;  // per channel of the graph
  std::vector<ConstantFold> folds;
};

// Every layer keeps at least one channel, and where possible a number that `granule` divides.
Removal removable_channels(const ChannelGraph& graph, std::int64_t granule);

}  // namespace espalier::pruning
