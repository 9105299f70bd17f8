// Depth as what falls: whole residual branches. y = body(x) + shortcut(x) becomes y = shortcut(x), or y = x where there
// is none, so the network gets shallower by as many layers, in a new model without masks: fewer launches, which nothing
// else saves. (Huang et al. 2016, arXiv 1603.09382; Veit et al. 2016, arXiv 1605.06431: residual networks survive the
// loss of single branches)
//   std::vector<Branch> found = branches(model, images.shape());
//   score_by_loss(found, model, judge);                     // or by_weights
//   ShallowModel shallow = prune_branches(model, images.shape(), {Target::Unit::macs, 0.7}, found);
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "layers/module.h"
#include "pruning/criterion.h"
#include "pruning/rates.h"
#include "pruning/sensitivity.h"

namespace espalier::pruning {

struct Branch {
  std::string name;                       // of the residual block: "residual_2"
  std::string body;                       // of what would fall: "residual_2.sequential_1"
  std::int64_t parameters = 0, macs = 0;  // that would fall, per image
  double score = 0;                       // higher = keep
};

// In the order of the model; those inside others too. `input`: the shape of one image's batch.
std::vector<Branch> branches(Module& model, const Shape& input);

// The mean of the scores of its weights.
void score_by_weights(std::vector<Branch>& branches, Module& model, const Criterion& criterion);
// What the loss rises by without it: one run over what judges for each branch.
void score_by_loss(std::vector<Branch>& branches, Module& model, const Judge& judge);

// The model without the bodies of these blocks; parameters, masks and buffers of the rest are copied, under the names
// that they have in the new model. Throws InvalidArgument on a name that is no block's.
std::unique_ptr<Module> without_branches(Module& model, const std::vector<std::string>& blocks);

struct ShallowModel {
  std::unique_ptr<Module> model;
  std::vector<std::string> removed;
  std::int64_t parameters_before = 0, parameters = 0, macs_before = 0, macs = 0;
};

// Removes branches of least score until the target (sparsity, params, macs or bytes) is met. Throws InvalidArgument
// where the model has no branch, or where all of them together are too little.
ShallowModel prune_branches(Module& model, const Shape& input, const Target& target, const std::vector<Branch>& scored);

std::string to_string(const std::vector<Branch>& branches);  // a table for people

}  // namespace espalier::pruning
