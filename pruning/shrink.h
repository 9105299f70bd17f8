// A masked model as the smaller dense one that computes the same: channels that nobody needs fall, constants that they
// leave are folded into their readers (shrink_analysis.h). The result is a model like any other: it is described,
// saved, trained and compiled as such.
//   Shrunk small = shrink(model, images.shape());
//   fmt::print("{}\n", small);                       // widths, parameters, multiply-adds, the largest difference
//   Plan plan = compile(*small.model, images.shape());
// What does not fall: channels of the input and the output, those that a layer norm or an unknown layer reads, those of
// a layer that is called twice, and one constant channel in front of a padding convolution that takes over the others.
#pragma once
#include <fmt/format.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/train/optimizer.h"
#include "layers/module.h"
#include "pruning/tensor_cut.h"

namespace espalier::pruning {

struct ShrinkOptions {
  std::int64_t granule = 1;  // widths are rounded up to a multiple of it, where the layer had as many
};

struct LayerWidth {
  std::string layer;  // a Dense or Conv2d
  std::int64_t before = 0, after = 0;
};

struct Shrunk {
  std::unique_ptr<Module> model;  // in the mode (training or not) of the one it was made from
  std::vector<LayerWidth> widths;
  std::int64_t parameters_before = 0, parameters_after = 0;
  std::int64_t macs_before = 0, macs_after = 0;  // per image, of the dense products
  double largest_difference = 0;                 // of the outputs for random images in [-1, 1), both in fp32
  double largest_output = 0;                     // the largest of them
  std::map<std::string, TensorCut> cuts;         // of each parameter and buffer by name
  double relative_difference() const { return largest_output > 0 ? largest_difference / largest_output : 0; }
};

// Throws InvalidArgument where a layer that must change cannot be described.
Shrunk shrink(Module& model, const Shape& input, const ShrinkOptions& options = {});

// Moments, steps and rates of the optimizer of the masked model, for one of the shrunk model's parameters; both are of
// one kind. Parameters that are new (a bias that a layer did not have) begin with moments of zero.
void move_state(const Shrunk& shrunk, Optimizer& from, Optimizer& to);
// The same for a checkpoint of the masked model: what it holds of optimizer, loader and notes, with the shrunk model.
Safetensors shrunk_checkpoint(const Safetensors& masked, const Shrunk& shrunk);

std::string to_string(const Shrunk& shrunk);  // a table for people
std::string to_json(const Shrunk& shrunk);

}  // namespace espalier::pruning

template <>
struct fmt::formatter<espalier::pruning::Shrunk> : fmt::formatter<std::string> {
  auto format(const espalier::pruning::Shrunk& shrunk, fmt::format_context& context) const {
    return fmt::formatter<std::string>::format(espalier::pruning::to_string(shrunk), context);
  }
};
