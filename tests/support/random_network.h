// Networks drawn at random from what channel pruning must understand: residual blocks with and without shortcut,
// branches joined, grouped and depthwise convolutions, batch norm, pools, padding, strides, and dense layers behind.
// Every parameter and running statistic is random, so that each leaves a trace in the output.
#pragma once
#include <memory>
#include <random>
#include <vector>

#include "layers/layers.h"
#include "tests/support/close.h"

namespace espalier::test {

class RandomNetwork {
 public:
  explicit RandomNetwork(unsigned seed) : engine_(seed), seed_(seed) {}

  // For images [N, 3, 12, 12]; five outputs.
  std::unique_ptr<Sequential> make() {
    channels_ = 3, side_ = 12;
    std::vector<std::unique_ptr<Module>> layers;
    const int blocks = pick(2, 4);
    for (int i = 0; i < blocks; ++i) add_block(layers);
    if (pick(0, 1) == 1) add(layers, AvgPool2d(2)), side_ /= 2;
    add(layers, Flatten());
    std::int64_t features = channels_ * side_ * side_;
    if (pick(0, 1) == 1) {
      add(layers, Dense(features, 9, {.bias = pick(0, 1) == 1}));
      if (pick(0, 1) == 1) add(layers, BatchNorm1d(9));
      add_activation(layers);
      features = 9;
    }
    add(layers, Dense(features, 5));
    auto model = std::make_unique<Sequential>(std::move(layers));
    randomise(*model);
    return model;
  }

  int pick(int low, int high) { return low + int(engine_() % unsigned(high - low + 1)); }

 private:
  using Layers = std::vector<std::unique_ptr<Module>>;

  template <class Layer>
  static void add(Layers& layers, Layer layer) {
    layers.push_back(std::make_unique<Layer>(std::move(layer)));
  }

  void add_activation(Layers& layers) {
    switch (pick(0, 5)) {
      case 0:
        return add(layers, Relu());
      case 1:
        return add(layers, LeakyRelu(0.2f));
      case 2:
        return add(layers, Sigmoid());
      case 3:
        return add(layers, Tanh());
      case 4:
        return add(layers, Gelu());
      default:
        return;
    }
  }

  // Keeps the sides.
  void add_convolution(Layers& layers, std::int64_t from, std::int64_t to, std::int64_t groups = 1) {
    const std::int64_t kernel = pick(0, 1) == 1 ? 3 : 1;
    add(layers, Conv2d(from, to, {.kernel = kernel, .padding = kernel / 2, .groups = groups, .bias = pick(0, 1) == 1}));
    if (pick(0, 1) == 1) add(layers, BatchNorm2d(to));
  }

  void add_residual(Layers& layers) {
    Layers body, shortcut;
    const bool widens = pick(0, 1) == 1;
    const std::int64_t to = widens ? channels_ + pick(1, 3) : channels_;
    add_convolution(body, channels_, pick(3, 6));
    const std::int64_t inner = std::int64_t(body.front()->parameters().front()->value.shape()[0]);
    add_activation(body);
    add_convolution(body, inner, to);
    if (widens) add_convolution(shortcut, channels_, to);
    auto side = widens ? std::make_unique<Sequential>(std::move(shortcut)) : nullptr;
    layers.push_back(std::make_unique<Residual>(std::make_unique<Sequential>(std::move(body)), std::move(side)));
    channels_ = to;
  }

  void add_concat(Layers& layers) {
    Layers branches;
    std::int64_t sum = 0;
    for (int i = 0, count = pick(2, 3); i < count; ++i) {
      Layers branch;
      if (i > 0 || pick(0, 1) == 1) {
        const std::int64_t to = pick(2, 4);
        add_convolution(branch, channels_, to);
        add_activation(branch);
        sum += to;
      } else {
        sum += channels_;  // hands x on
      }
      branches.push_back(std::make_unique<Sequential>(std::move(branch)));
    }
    layers.push_back(std::make_unique<Concat>(std::move(branches)));
    channels_ = sum;
  }

  void add_block(Layers& layers) {
    switch (pick(0, 5)) {
      case 0:
        add_residual(layers);
        break;
      case 1:
        add_concat(layers);
        break;
      case 2:  // depthwise, one or two filters a channel
        add_convolution(layers, channels_, channels_ * 2, channels_), channels_ *= 2;
        break;
      case 3: {  // grouped
        const std::int64_t to = 2 * pick(1, 3);
        add_convolution(layers, channels_, 6);
        add_convolution(layers, 6, to, 2), channels_ = to;
        break;
      }
      default: {
        const std::int64_t to = pick(3, 7);
        add_convolution(layers, channels_, to), channels_ = to;
      }
    }
    add_activation(layers);
    if (side_ == 12 && pick(0, 2) == 0) add(layers, MaxPool2d(2)), side_ /= 2;
  }

  void randomise(Module& model) {
    unsigned draw = seed_ << 8;
    const auto fill = [&](const Tensor& tensor, float low, float high) {
      tensor.copy_from(Tensor::from(
          tensor.shape(), std::span<const float>(random_floats(std::size_t(tensor.size()), ++draw, low, high))));
    };
    for (Parameter* parameter : model.parameters()) {
      const bool norm = parameter->name.ends_with("gamma");
      fill(parameter->value.value(), norm ? 0.5f : -0.6f, norm ? 1.5f : 0.6f);
    }
    for (Buffer* buffer : model.buffers()) {
      const bool variance = buffer->name.ends_with("variance");
      fill(buffer->value, variance ? 0.5f : -0.5f, variance ? 1.5f : 0.5f);
    }
  }

  std::mt19937 engine_;
  unsigned seed_;
  std::int64_t channels_ = 3, side_ = 12;
};

}  // namespace espalier::test
