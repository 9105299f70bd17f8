// Whole channels as what falls: a pattern for the Pruner. The rows (filters, neurons) that make a channel are masked in
// every layer of its group (channel_groups.h); biases and norms stay, so that what is left of the channel is a
// constant, which goes on training and which shrink() folds away.
//   Pruner pruner(model, {.pattern = channel_pattern(model, images.shape()), .schedule = ...});
//   ...                                                // train on
//   Shrunk small = shrink(model, images.shape());      // the smaller dense network
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "layers/module.h"
#include "pruning/channel_groups.h"
#include "pruning/criterion.h"
#include "pruning/pattern.h"
#include "pruning/rates.h"

namespace espalier::pruning {

// What a channel is worth: the norm of the scores of all weights that it would take along, in every layer of its group
// (Fang et al. 2023, arXiv 2301.12900, section 3.3; Li et al. 2017, arXiv 1608.08710, section 3.1 for a single layer).
enum class ChannelNorm {
  l1,
  l2,
  norm_scale,  // |gamma| of the norms that scale the channel, in place of the scores (Liu et al. 2017, arXiv
               // 1708.06519); groups that no norm scales lose nothing
};

enum class ChannelContest {
  each_layer,  // every group loses the same fraction
  all_layers,  // all compete, by their worth relative to the mean of their group
};

// What the budget's sparsity is a fraction of: channels that can fall, or what they take along of multiply-adds,
// parameters or weights of products. Counted is what shrink() leaves, but for the constant channel that it may keep in
// front of each padding convolution.
enum class ChannelTarget { channels, macs, params, weights };

struct ChannelOptions {
  ChannelNorm norm = ChannelNorm::l2;
  ChannelContest contest = ChannelContest::each_layer;
  ChannelTarget target = ChannelTarget::channels;
  std::vector<std::string> ignore = {};  // names of groups that lose nothing: "conv2d_1"
  // If any: the widths that groups come to, all others keep theirs. The budget's sparsity is the fraction of all
  // channels that fall; below the one that these widths make, each group goes the same part of its way.
  std::map<std::string, std::int64_t> widths = {};
};

// A target (rates.h) in such units: {Unit::bytes, 0.3} is {params, 0.7}. Throws InvalidArgument for thresholds, and for
// what is no part of what the model has.
struct ChannelBudget {
  ChannelTarget target = ChannelTarget::channels;
  double sparsity = 0;  // the fraction that falls
};
ChannelBudget channel_budget(Module& model, const Shape& input, const Target& target);

// For a Pruner of this model with Scope::global and no parameters ignored. Of the budget, min_density is the fraction
// of its channels that each group keeps at least; one always stays. What was pruned before stays pruned. Throws
// InvalidArgument when no channel can fall, when `ignore` names no group, or, in pruning, when the floors do not let
// enough multiply-adds go.
Pattern channel_pattern(Module& model, const Shape& input, const ChannelOptions& options = {});

// The masks that bring groups to these widths, one for each of weights_of(model); none is set.
std::vector<Mask> channel_masks(Module& model, const Shape& input, const Criterion& criterion,
                                const std::map<std::string, std::int64_t>& widths);

// Groups of which channels can fall, without the ignored. Throws InvalidArgument where that is none, or a name is of no
// such group.
std::vector<ChannelGroup> groups_that_can_fall(Module& model, const Shape& input,
                                               const std::vector<std::string>& ignore = {});

}  // namespace espalier::pruning
