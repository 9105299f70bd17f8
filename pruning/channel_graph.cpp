#include "pruning/channel_graph.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "core/device/precision.h"
#include "core/device/stream.h"
#include "kernels/random.h"
#include "layers/concat.h"
#include "layers/conv_pool.h"
#include "layers/dense.h"
#include "layers/flatten.h"
#include "pruning/product_steps.h"

namespace espalier::pruning {
namespace {

using Channels = std::vector<int>;

constexpr std::uint64_t kInputSeed = 5;

Trace trace_exactly(Module& model, const Shape& input) {
  const PrecisionScope exact(Precision::fp32);
  const Tensor images = Tensor::empty(input);
  kernels::fill_uniform(images.size(), {.seed = kInputSeed}, -1.0f, 1.0f, images.data<float>(), current_stream());
  return trace_inference(model, images);
}

// Numbers channels step by step, ties those that fall together and remembers which must stay.
class Builder {
 public:
  explicit Builder(ChannelGraph& graph) : graph_(graph) { graph_.of_value.resize(graph_.trace.values.size()); }

  void run() {
    const Trace& trace = graph_.trace;
    of(trace.input) = fresh(channels_of(trace.input));
    keep(of(trace.input), "the model's input");
    for (const Trace::Step& step : trace.steps) visit(step);
    keep(of(trace.output), "the model's output");
    number();
  }

 private:
  const Shape& shape_of(int value) const { return graph_.trace.values[std::size_t(value)].tensor.shape(); }
  std::int64_t channels_of(int value) const { return shape_of(value).rank() < 2 ? 0 : shape_of(value)[1]; }
  Channels& of(int value) { return graph_.of_value[std::size_t(value)]; }

  Channels fresh(std::int64_t count) {
    Channels made(static_cast<std::size_t>(count));
    std::iota(made.begin(), made.end(), int(tied_to_.size()));
    tied_to_.insert(tied_to_.end(), made.begin(), made.end());
    return made;
  }
  int root(int channel) {
    while (tied_to_[std::size_t(channel)] != channel) {
      channel = tied_to_[std::size_t(channel)] = tied_to_[std::size_t(tied_to_[std::size_t(channel)])];
    }
    return channel;
  }
  void tie(int a, int b) {
    a = root(a), b = root(b);
    tied_to_[std::size_t(std::max(a, b))] = std::min(a, b);
  }
  void tie(const Channels& a, const Channels& b) {
    for (std::size_t i = 0; i < a.size(); ++i) tie(a[i], b[i]);
  }
  void keep(const Channels& channels, const std::string& because) {
    for (const int channel : channels) kept_.emplace_back(channel, because);
  }

  // The axis of a weight gets its channels. Where a layer is called twice, both calls' must fall together, and what one
  // call folds into a bias the other would see too: they stay.
  void bind(int value, std::size_t axis, const Channels& channels) {
    auto& axes = graph_.named[std::size_t(graph_.named_of_value[std::size_t(value)])].channels;
    axes.resize(shape_of(value).rank());
    if (axes[axis].empty()) {
      axes[axis] = channels;
      return;
    }
    tie(axes[axis], channels);
    keep(channels, "a layer that is called twice");
  }

  void visit(const Trace::Step& step) {
    if (is_channel_product(*step.function)) return visit_product(step);
    if (dynamic_cast<const FlattenFunction*>(step.function.get())) return visit_flatten(step);
    if (dynamic_cast<const ConcatFunction*>(step.function.get())) return visit_concat(step);
    const bool alone = step.function->channel_flow() != ChannelFlow::mixed;
    if (!alone || !visit_separate(step)) visit_mixed(step);
  }

  void visit_product(const Trace::Step& step) {
    const ChannelProduct product = channel_product(graph_, step);
    const Channels& x = of(step.inputs[0]);
    bool named = !x.empty();
    for (std::size_t i = 1; i < step.inputs.size(); ++i) named = named && graph_.named_input(step, i) != nullptr;
    if (!named) return visit_mixed(step);
    const auto inputs = std::size_t(product.inputs), filters = std::size_t(product.filters_per_group());
    Channels y;
    if (product.depthwise()) {
      for (const int channel : x) y.insert(y.end(), filters, channel);
    } else {
      y = fresh(product.filters);
      for (std::size_t i = inputs; i < x.size(); ++i) tie(x[i % inputs], x[i]);
      for (std::size_t i = filters; i < y.size(); ++i) tie(y[i % filters], y[i]);
      bind(step.inputs[1], 1, Channels(x.begin(), x.begin() + std::ptrdiff_t(inputs)));
    }
    bind(step.inputs[1], 0, y);
    if (step.inputs.size() > 2) bind(step.inputs[2], 0, y);
    of(step.output) = y;
  }

  void visit_flatten(const Trace::Step& step) {
    const Channels& x = of(step.inputs[0]);
    if (x.empty()) return;
    const std::size_t area = std::size_t(channels_of(step.output)) / x.size();
    for (const int channel : x) of(step.output).insert(of(step.output).end(), area, channel);
  }

  void visit_concat(const Trace::Step& step) {
    for (const int part : step.inputs) {
      if (of(part).empty()) return visit_mixed(step);
    }
    for (const int part : step.inputs) {
      of(step.output).insert(of(step.output).end(), of(part).begin(), of(part).end());
    }
  }

  bool visit_separate(const Trace::Step& step) {
    Channels y;
    for (const int input : step.inputs) {
      if (!of(input).empty()) y = of(input);
    }
    const auto fits = [&](int input) {
      const Shape& shape = shape_of(input);
      if (!of(input).empty()) return of(input).size() == y.size();
      return graph_.named_of_value[std::size_t(input)] >= 0 && shape == Shape{std::int64_t(y.size())};
    };
    if (y.empty() || channels_of(step.output) != std::int64_t(y.size())) return false;
    if (!std::all_of(step.inputs.begin(), step.inputs.end(), fits)) return false;
    for (const int input : step.inputs) {
      if (of(input).empty()) {
        bind(input, 0, y);
      } else {
        tie(of(input), y);
      }
    }
    of(step.output) = y;
    return true;
  }

  void visit_mixed(const Trace::Step& step) {
    bool of_images = false;
    for (const int input : step.inputs) {
      of_images = of_images || !of(input).empty();
      keep(of(input), std::string(step.function->name()) + " reads all channels");
    }
    if (!of_images) return;  // of weights alone: it has no channels, and who reads it finds no parameter
    of(step.output) = fresh(channels_of(step.output));
    keep(of(step.output), "made by " + std::string(step.function->name()));
  }

  // Ties become equal numbers, without gaps.
  void number() {
    std::map<int, int> numbers;
    const auto renumber = [&](Channels& channels) {
      for (int& channel : channels) channel = numbers.emplace(root(channel), int(numbers.size())).first->second;
    };
    for (Channels& channels : graph_.of_value) renumber(channels);
    for (auto& named : graph_.named) std::for_each(named.channels.begin(), named.channels.end(), renumber);
    graph_.kept_because.resize(numbers.size());
    for (const auto& [channel, because] : kept_) {
      std::string& reason = graph_.kept_because[std::size_t(numbers.at(root(channel)))];
      if (reason.empty()) reason = because;
    }
  }

  ChannelGraph& graph_;
  Channels tied_to_;
  std::vector<std::pair<int, std::string>> kept_;
};

void name_values(ChannelGraph& graph, Module& model) {
  std::map<const void*, int> known;
  const auto add = [&](const std::string& name, const Tensor& tensor) {
    known.emplace(tensor.raw(), int(graph.named.size()));
    graph.named.push_back({name, tensor, {}});
  };
  for (const Parameter* parameter : model.parameters()) add(parameter->name, parameter->value.value());
  graph.parameters = graph.named.size();
  for (const Buffer* buffer : model.buffers()) add(buffer->name, buffer->value);
  for (const Trace::Value& value : graph.trace.values) {
    const auto found = value.constant ? known.find(value.tensor.raw()) : known.end();
    graph.named_of_value.push_back(found == known.end() ? -1 : found->second);
  }
}

}  // namespace

const ChannelGraph::Named* ChannelGraph::named_input(const Trace::Step& step, std::size_t input) const {
  const int found = input < step.inputs.size() ? named_of_value[std::size_t(step.inputs[input])] : -1;
  return found < 0 ? nullptr : &named[std::size_t(found)];
}

std::string layer_of(const std::string& tensor) {
  const std::size_t dot = tensor.rfind('.');
  return dot == std::string::npos ? "" : tensor.substr(0, dot);
}

bool is_channel_product(const Function& function) {
  return convolution_of(function) != nullptr || dynamic_cast<const DenseFunction*>(&function) != nullptr;
}

ChannelProduct channel_product(const ChannelGraph& graph, const Trace::Step& step) {
  const auto tensor = [&](int value) -> const Tensor& { return graph.trace.values[std::size_t(value)].tensor; };
  const Shape &x = tensor(step.inputs[0]).shape(), &weight = tensor(step.inputs[1]).shape();
  ChannelProduct product{.filters = weight[0], .inputs = weight[1]};
  if (const Conv2dFunction* const convolution = convolution_of(*step.function)) {
    const kernels::Conv2dShape shape = convolution->shape_for(x, weight);
    product.taps = shape.kernel_height * shape.kernel_width;
    product.positions = shape.out_height() * shape.out_width();
    product.groups = shape.groups;
    product.padding = shape.padding;
  }
  return product;
}

std::int64_t macs(const ChannelGraph& graph, const std::vector<bool>& kept) {
  const auto left = [&](int value, std::int64_t otherwise) {
    const Channels& channels = graph.of_value[std::size_t(value)];
    if (channels.empty()) return otherwise;
    return std::int64_t(std::count_if(channels.begin(), channels.end(), [&](int c) { return kept[std::size_t(c)]; }));
  };
  std::int64_t sum = 0;
  for (const Trace::Step& step : graph.trace.steps) {
    if (!is_channel_product(*step.function)) continue;
    const ChannelProduct of = channel_product(graph, step);
    const std::int64_t inputs = of.depthwise() ? 1 : left(step.inputs[0], of.inputs * of.groups) / of.groups;
    sum += left(step.output, of.filters) * inputs * of.taps * of.positions;
  }
  return sum;
}

ChannelCount count_left(const ChannelGraph& graph, const std::vector<bool>& kept) {
  ChannelCount count{.macs = macs(graph, kept)};
  for (std::size_t i = 0; i < graph.parameters; ++i) {
    const ChannelGraph::Named& named = graph.named[i];
    std::int64_t size = 1;
    for (std::size_t axis = 0; axis < named.tensor.shape().rank(); ++axis) {
      const bool whole = axis >= named.channels.size() || named.channels[axis].empty();
      const auto lives = [&](int channel) { return kept[std::size_t(channel)]; };
      size *= whole ? named.tensor.shape()[axis]
                    : std::int64_t(std::count_if(named.channels[axis].begin(), named.channels[axis].end(), lives));
    }
    count.parameters += size;
    if (named.tensor.shape().rank() >= 2) count.weights += size;
  }
  return count;
}

ChannelGraph channel_graph(Module& model, const Shape& input) {
  ChannelGraph graph;
  graph.trace = trace_exactly(model, input);
  name_values(graph, model);
  Builder(graph).run();
  return graph;
}

}  // namespace espalier::pruning
