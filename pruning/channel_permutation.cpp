#include "pruning/channel_permutation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <random>

#include "kernels/require.h"
#include "pruning/channel_groups.h"
#include "pruning/shrink_fold.h"
#include "pruning/swap_search.h"
#include "pruning/tensor_cut.h"

namespace espalier::pruning {
namespace {

const ChannelSlice& slice_of(const ChannelGroup& group, std::size_t channel, std::size_t slice) {
  return group.channels[channel][slice];
}

// The columns of one reader, channel by channel; none where they are not one run of whole blocks, in order.
std::optional<ReadMatrix> read_matrix(const ChannelGroup& group, std::size_t slice, const StoredTensor& weight, int m) {
  const std::int64_t rows = weight.shape[0], columns = weight.shape.size() / rows, taps = columns / weight.shape[1];
  const auto per_channel = std::int64_t(slice_of(group, 0, slice).indices.size());
  const std::int64_t first = slice_of(group, 0, slice).indices[0];
  ReadMatrix matrix{.rows = rows, .width = per_channel * taps, .magnitude = {}};
  if (first * taps % m != 0) return std::nullopt;
  const std::vector<float> values = weight.floats();
  for (std::size_t channel = 0; channel < group.channels.size(); ++channel) {
    const std::vector<std::int64_t>& indices = slice_of(group, channel, slice).indices;
    const std::int64_t begin = first + std::int64_t(channel) * per_channel;
    for (std::size_t i = 0; i < indices.size(); ++i) {
      if (indices[i] != begin + std::int64_t(i)) return std::nullopt;
    }
    for (std::int64_t row = 0; row < rows; ++row) {
      const auto from = values.begin() + row * columns + begin * taps;
      for (auto at = from; at != from + matrix.width; ++at) matrix.magnitude.push_back(std::abs(*at));
    }
  }
  return matrix;
}

std::vector<ReadMatrix> readers_of(const ChannelGroup& group, const ModelTensors& tensors, int m) {
  std::vector<ReadMatrix> readers;
  for (std::size_t slice = 0; slice < group.channels[0].size(); ++slice) {
    if (slice_of(group, 0, slice).axis != 1) continue;
    auto matrix = read_matrix(group, slice, tensors.values.at(slice_of(group, 0, slice).tensor), m);
    if (matrix) readers.push_back(std::move(*matrix));
  }
  return readers;
}

// Adds to `cuts` that each channel's slices go to the places of the one whose place it takes.
void reorder(const ChannelGroup& group, const std::vector<std::int64_t>& order, const ModelTensors& tensors,
             std::map<std::string, TensorCut>& cuts) {
  for (std::size_t slice = 0; slice < group.channels[0].size(); ++slice) {
    const ChannelSlice& of = slice_of(group, 0, slice);
    const Shape& shape = tensors.values.at(of.tensor).shape;
    TensorCut& cut = cuts[of.tensor];
    cut.resize(shape.rank());
    std::vector<std::int64_t>& axis = cut[of.axis];
    for (std::int64_t i = std::int64_t(axis.size()); i < shape[of.axis]; ++i) axis.push_back(i);
    for (std::size_t place = 0; place < order.size(); ++place) {
      const auto& to = slice_of(group, place, slice).indices;
      const auto& from = slice_of(group, std::size_t(order[place]), slice).indices;
      for (std::size_t i = 0; i < to.size(); ++i) axis[std::size_t(to[i])] = from[i];
    }
  }
}

void apply(Module& model, const ModelTensors& tensors, const std::map<std::string, TensorCut>& cuts) {
  const auto reordered = [&](const StoredTensor& tensor, const std::string& name) {
    return apply_cut(tensor, cuts.at(name));
  };
  for (Parameter* parameter : model.parameters()) {
    if (!cuts.contains(parameter->name)) continue;
    const auto mask = tensors.masks.find(parameter->name);
    parameter->clear_mask();
    reordered(tensors.values.at(parameter->name), parameter->name).upload_to(parameter->value.value());
    if (mask == tensors.masks.end()) continue;
    const StoredTensor keep = reordered(mask->second, parameter->name);
    parameter->set_mask({Tensor::from_bytes(keep.shape, DType::u8, keep.bytes)});
  }
  for (Buffer* buffer : model.buffers()) {
    if (cuts.contains(buffer->name)) reordered(tensors.values.at(buffer->name), buffer->name).upload_to(buffer->value);
  }
}

}  // namespace

std::vector<ChannelPermutation> permute_for_n_of_m(Module& model, const Shape& input,
                                                   const PermutationOptions& options) {
  require(1 <= options.n && options.n <= options.m && options.m <= 32, "permutation: ", options.n, " of ", options.m,
          "; needs 1 <= n <= m <= 32");
  require(options.escapes >= 0 && options.in_sight >= 1, "permutation: ", options.escapes, " escapes, ",
          options.in_sight, " stripes in sight; needs at least 0 and 1");
  const std::vector<ChannelGroup> groups = channel_groups(model, input);
  const ModelTensors tensors = tensors_of(model);
  std::map<std::string, TensorCut> cuts;
  std::vector<ChannelPermutation> found;
  std::mt19937 engine(std::uint32_t(options.seed));
  for (const ChannelGroup& group : groups) {
    const std::vector<ReadMatrix> readers = readers_of(group, tensors, options.m);
    if (!group.kept_because.empty() || readers.empty()) continue;
    const SwapResult best = best_order(readers, std::int64_t(group.channels.size()),
                                       {.n = options.n,
                                        .m = options.m,
                                        .escapes = options.escapes,
                                        .in_sight = options.in_sight,
                                        .random = [&](std::uint32_t below) { return engine() % below; }});
    found.push_back({group.name, best.order, best.before, best.after, best.swaps});
    if (best.after > best.before) reorder(group, best.order, tensors, cuts);
  }
  apply(model, tensors, cuts);
  return found;
}

std::string to_string(const std::vector<ChannelPermutation>& permutations) {
  std::string text;
  for (const ChannelPermutation& each : permutations) {
    text += fmt::format("{}: {} channels reordered by {} swaps, what reads them keeps {:.3f} of |w|, {:.3f} before\n",
                        each.group, each.order.size(), each.swaps, each.kept_after, each.kept_before);
  }
  return text;
}

}  // namespace espalier::pruning
