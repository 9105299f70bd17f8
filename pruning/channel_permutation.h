// An order of channels that N:M pruning likes: a row keeps the n largest of each m neighbours, so large weights should
// not be neighbours. Channels are swapped, pair by pair, as long as that lets the layers that read them keep more of
// their magnitude, with a few random swaps as an escape where no pair helps (Pool and Yu 2021, "Channel permutations
// for N:M sparsity", NeurIPS 34, algorithm 1). What makes a channel is reordered with what reads it, through the
// channel graph, so the network computes the same: sums only in another order. Do it before training on: an optimizer's
// moments are not reordered.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "layers/module.h"

namespace espalier::pruning {

struct PermutationOptions {
  int n = 2, m = 4;
  int escapes = 8;             // for each group of channels
  std::int64_t in_sight = 64;  // stripes (m neighbouring columns) that a channel may be swapped across at a time
  std::uint64_t seed = 1;
};

struct ChannelPermutation {
  std::string group;                       // of channels (channel_groups.h): "dense_1"
  std::vector<std::int64_t> order = {};    // the channel that comes to each place
  double kept_before = 0, kept_after = 0;  // sums of |w| that N:M leaves in the layers that read the group
  int swaps = 0;
};

// Reorders weights, biases, norms, their buffers and masks of the model in place, for its weights' present magnitudes.
// Groups that cannot be reordered (channel_graph.h says why), or where nothing is to be gained, stay. `input`: of a
// batch. Throws InvalidArgument on an n of m that cannot be.
std::vector<ChannelPermutation> permute_for_n_of_m(Module& model, const Shape& input,
                                                   const PermutationOptions& options = {});

std::string to_string(const std::vector<ChannelPermutation>& permutations);  // a list for people

}  // namespace espalier::pruning
