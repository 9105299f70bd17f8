#include "pruning/shrink_analysis.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "kernels/require.h"
#include "layers/batch_norm.h"
#include "layers/concat.h"
#include "layers/flatten.h"

namespace espalier::pruning {
namespace {

constexpr double kWeakCarrier = 1e-3;  // of the largest constant it would take over: below, weights would explode

// A product with its weights on the host.
struct Reader {
  std::size_t step = 0;
  ChannelProduct shape;
  std::vector<float> weight;  // [filters, inputs, taps]
  bool pads() const { return shape.padding > 0; }
  std::int64_t group_of_input(std::int64_t input) const { return input / shape.inputs; }
  // Whether this filter reads this channel of x with a weight that is not zero.
  bool reads(std::int64_t filter, std::int64_t input) const {
    if (filter / shape.filters_per_group() != group_of_input(input)) return false;
    const float* taps = weight.data() + (filter * shape.inputs + input % shape.inputs) * shape.taps;
    return std::any_of(taps, taps + shape.taps, [](float tap) { return tap != 0.0f; });
  }
};

class Analysis {
 public:
  Analysis(const ChannelGraph& graph, std::int64_t granule) : graph_(graph), granule_(granule) {
    for (std::size_t i = 0; i < graph.trace.steps.size(); ++i) {
      const Trace::Step& step = graph.trace.steps[i];
      if (!is_channel_product(*step.function) || graph.of_value[std::size_t(step.inputs[0])].empty()) continue;
      readers_.push_back({i, channel_product(graph, step), tensor(step.inputs[1]).to_host()});
    }
    find_constants();
    kept_.resize(graph.channels());
    for (std::size_t i = 0; i < kept_.size(); ++i) kept_[i] = !graph.kept_because[i].empty();
  }

  // Begins with nothing but what must stay and adds what that needs, until all is well: the fewest channels.
  Removal run() {
    do {
      changed_ = false;
      for (const Reader& reader : readers_) {
        if (!reader.shape.depthwise()) keep_what_is_read(reader);
      }
      if (changed_) continue;
      for (const Reader& reader : readers_) keep_width(reader);
      if (changed_) continue;
      for (const Reader& reader : readers_) keep_carriers(reader);
    } while (changed_);
    return {kept_, folds()};
  }

 private:
  const Tensor& tensor(int value) const { return graph_.trace.values[std::size_t(value)].tensor; }
  const std::vector<int>& channels(int value) const { return graph_.of_value[std::size_t(value)]; }
  const Trace::Step& step_of(const Reader& reader) const { return graph_.trace.steps[reader.step]; }
  int input_of(const Reader& reader) const { return step_of(reader).inputs[0]; }
  bool kept(int value, std::int64_t i) const { return kept_[std::size_t(channels(value)[std::size_t(i)])]; }
  void keep(int value, std::int64_t i) {
    const auto channel = std::size_t(channels(value)[std::size_t(i)]);
    changed_ = changed_ || !kept_[channel];
    kept_[channel] = true;
  }

  struct Constants {
    std::vector<bool> is;  // per index of axis 1; empty: none
    std::vector<double> value;
    bool at(std::int64_t i) const { return !is.empty() && is[std::size_t(i)]; }
  };
  const Constants& constants(int value) const { return constants_.at(value); }

  void find_constants();
  std::vector<bool> constant_outputs(const Trace::Step& step) const;
  std::vector<bool> constant_of_product(const Reader& reader) const;
  std::vector<bool> constant_of_separate(const Trace::Step& step) const;
  void read_values(int value);
  void keep_what_is_read(const Reader& reader);
  void keep_width(const Reader& reader);
  void keep_carriers(const Reader& reader);
  bool is_read(const Reader& reader, std::int64_t input) const;
  std::int64_t carrier(const Reader& reader, std::int64_t group) const;
  std::vector<ConstantFold> folds() const;

  const ChannelGraph& graph_;
  std::int64_t granule_;
  std::vector<Reader> readers_;
  std::map<int, Constants> constants_;  // of every value that has channels
  std::vector<bool> kept_;
  bool changed_ = false;
};

// In the order of execution. The traced run has computed the numbers already.
void Analysis::find_constants() {
  constants_[graph_.trace.input] = {};
  for (const Trace::Step& step : graph_.trace.steps) {
    if (channels(step.output).empty()) continue;
    constants_[step.output].is = constant_outputs(step);
    read_values(step.output);
  }
}

std::vector<bool> Analysis::constant_outputs(const Trace::Step& step) const {
  for (const Reader& reader : readers_) {
    if (&step_of(reader) == &step) return constant_of_product(reader);
  }
  const std::size_t count = channels(step.output).size();
  std::vector<bool> is;
  if (dynamic_cast<const FlattenFunction*>(step.function.get())) {
    const std::size_t area = count / channels(step.inputs[0]).size();
    for (std::size_t i = 0; i < count; ++i) is.push_back(constants(step.inputs[0]).at(std::int64_t(i / area)));
  } else if (dynamic_cast<const ConcatFunction*>(step.function.get())) {
    for (const int part : step.inputs) {
      for (std::size_t i = 0; i < channels(part).size(); ++i) is.push_back(constants(part).at(std::int64_t(i)));
    }
  } else if (step.function->channel_flow() == ChannelFlow::uniform) {
    is = constant_of_separate(step);
  }
  return is;
}

// A filter that reads nothing but constants; beyond a border a constant ends, unless it is zero.
std::vector<bool> Analysis::constant_of_product(const Reader& reader) const {
  const Constants& x = constants(input_of(reader));
  const auto inputs = std::int64_t(channels(input_of(reader)).size());
  std::vector<bool> is;
  for (std::int64_t filter = 0; filter < reader.shape.filters; ++filter) {
    bool constant = true;
    for (std::int64_t i = 0; i < inputs && constant; ++i) {
      const bool even = x.at(i) && (!reader.pads() || x.value[std::size_t(i)] == 0.0);
      constant = even || !reader.reads(filter, i);
    }
    is.push_back(constant);
  }
  return is;
}

std::vector<bool> Analysis::constant_of_separate(const Trace::Step& step) const {
  std::vector<float> gamma;
  if (dynamic_cast<const BatchNormFunction*>(step.function.get())) gamma = tensor(step.inputs[1]).to_host();
  std::vector<bool> is;
  for (std::size_t i = 0; i < channels(step.output).size(); ++i) {
    const auto even = [&](int x) { return channels(x).empty() || constants(x).at(std::int64_t(i)); };
    const bool all = std::all_of(step.inputs.begin(), step.inputs.end(), even);
    is.push_back(all || (!gamma.empty() && gamma[i] == 0.0f));
  }
  return is;
}

void Analysis::read_values(int value) {
  Constants& constants = constants_[value];
  if (std::none_of(constants.is.begin(), constants.is.end(), [](bool is) { return is; })) return;
  const std::vector<float> host = tensor(value).to_host();
  const Shape& shape = tensor(value).shape();
  const std::int64_t area = shape.size() / (shape[0] * shape[1]);
  for (std::int64_t i = 0; i < shape[1]; ++i) constants.value.push_back(double(host[std::size_t(i * area)]));
}

bool Analysis::is_read(const Reader& reader, std::int64_t input) const {
  const std::int64_t filters = reader.shape.filters_per_group(), first = reader.group_of_input(input) * filters;
  for (std::int64_t filter = first; filter < first + filters; ++filter) {
    if (kept(step_of(reader).output, filter) && reader.reads(filter, input)) return true;
  }
  return false;
}

void Analysis::keep_what_is_read(const Reader& reader) {
  const int x = input_of(reader);
  for (std::int64_t i = 0; i < std::int64_t(channels(x).size()); ++i) {
    if (!kept(x, i) && !constants(x).at(i) && is_read(reader, i)) keep(x, i);
  }
}

// One channel at least; then more up to the next multiple of the granule.
void Analysis::keep_width(const Reader& reader) {
  const int y = step_of(reader).output;
  const std::int64_t width = std::int64_t(channels(y).size());
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < width; ++i) count += kept(y, i);
  for (std::int64_t i = 0; i < width && (count == 0 || count % granule_ != 0); ++i) {
    if (kept(y, i)) continue;
    keep(y, i);
    count = 0;  // of a channel several indices may have come back
    for (std::int64_t j = 0; j < width; ++j) count += kept(y, j);
  }
}

// The kept constant of this group of a padding convolution that takes over the others; -1: there is none.
std::int64_t Analysis::carrier(const Reader& reader, std::int64_t group) const {
  const Constants& x = constants(input_of(reader));
  std::int64_t best = -1;
  for (std::int64_t i = group * reader.shape.inputs; i < (group + 1) * reader.shape.inputs; ++i) {
    if (!kept(input_of(reader), i) || !x.at(i) || x.value[std::size_t(i)] == 0.0) continue;
    if (best < 0 || std::abs(x.value[std::size_t(i)]) > std::abs(x.value[std::size_t(best)])) best = i;
  }
  return best;
}

void Analysis::keep_carriers(const Reader& reader) {
  if (!reader.pads() || reader.shape.depthwise()) return;
  const int x = input_of(reader);
  const auto size_of = [&](std::int64_t i) { return std::abs(constants(x).value[std::size_t(i)]); };
  for (std::int64_t group = 0; group < reader.shape.groups; ++group) {
    std::int64_t largest = -1;
    for (std::int64_t i = group * reader.shape.inputs; i < (group + 1) * reader.shape.inputs; ++i) {
      if (kept(x, i) || !constants(x).at(i) || size_of(i) == 0.0 || !is_read(reader, i)) continue;
      if (largest < 0 || size_of(i) > size_of(largest)) largest = i;
    }
    const std::int64_t present = carrier(reader, group);
    if (largest >= 0 && (present < 0 || size_of(present) < kWeakCarrier * size_of(largest))) keep(x, largest);
  }
}

std::vector<ConstantFold> Analysis::folds() const {
  std::vector<ConstantFold> folds;
  for (const Reader& reader : readers_) {
    if (reader.shape.depthwise()) continue;
    const int x = input_of(reader);
    for (std::int64_t i = 0; i < std::int64_t(channels(x).size()); ++i) {
      if (kept(x, i) || !constants(x).at(i) || !is_read(reader, i)) continue;
      ConstantFold fold{.step = reader.step, .input = i, .value = constants(x).value[std::size_t(i)]};
      if (fold.value == 0.0) continue;
      if (reader.pads()) {
        fold.carrier = carrier(reader, reader.group_of_input(i));
        fold.onto = constants(x).value[std::size_t(fold.carrier)];
      }
      folds.push_back(fold);
    }
  }
  return folds;
}

}  // namespace

Removal removable_channels(const ChannelGraph& graph, std::int64_t granule) {
  require(granule >= 1, "shrink: widths cannot be multiples of ", granule, "; the granule is at least 1");
  return Analysis(graph, granule).run();
}

}  // namespace espalier::pruning
