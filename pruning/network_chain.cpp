#include "pruning/network_chain.h"

#include <fmt/format.h>

#include "layers/conv_pool.h"
#include "layers/dense.h"
#include "layers/flatten.h"

namespace espalier::pruning {
namespace {

using kernels::FusedProduct;
constexpr std::int64_t kMostWeights = 1 << 24;  // of a layer: a larger one belongs to no small network

}  // namespace

FusedProduct product_of(const Function& function, const Shape& x, const Shape& weight) {
  FusedProduct product;
  if (const auto* block = dynamic_cast<const ConvPool2dFunction*>(&function)) {
    product.shape = block->convolution.shape_for(x, weight), product.pool = true;
  } else if (const auto* conv2d = dynamic_cast<const Conv2dFunction*>(&function)) {
    product.shape = conv2d->shape_for(x, weight);
  } else if (dynamic_cast<const DenseFunction*>(&function)) {
    product.shape = {.width = weight[1], .filters = weight[0], .kernel_width = weight[1]};
  } else {
    throw Refused{fmt::format("a step {} is none that a network in one launch has", function.name())};
  }
  const auto& attributes = dynamic_cast<const ProductFunction&>(function);
  if (attributes.precision != Precision::fp32) throw Refused{"a network in one launch computes in fp32"};
  if (product.shape.weight_size() > kMostWeights) throw Refused{fmt::format("{} is too large", attributes.label)};
  product.activation = attributes.activation, product.slope = attributes.slope;
  return product;
}

void read_weights(FusedProduct& product, const Tensor& weight, const Tensor* bias) {
  product.set_weight(weight.to_host());
  if (bias) product.bias = bias->to_host();
}

NetworkChain chain_of(const Trace& traced) {
  const auto shape_of = [&](int value) { return traced.values[std::size_t(value)].tensor.shape(); };
  NetworkChain chain{.products = {}, .steps = {}, .input = shape_of(traced.input), .output = shape_of(traced.output)};
  int value = traced.input;
  for (const Trace::Step& step : traced.steps) {
    if (step.inputs[0] != value) throw Refused{"its layers are no chain"};
    value = step.output;
    if (dynamic_cast<const FlattenFunction*>(step.function.get())) continue;
    const bool has_weight = step.inputs.size() > 1 && traced.values[std::size_t(step.inputs[1])].constant;
    if (!has_weight)
      throw Refused{fmt::format("a step {} is none that a network in one launch has", step.function->name())};
    chain.products.push_back(product_of(*step.function, shape_of(step.inputs[0]), shape_of(step.inputs[1])));
    chain.steps.push_back(&step);
  }
  if (value != traced.output || chain.products.empty()) throw Refused{"its layers are no chain"};
  if (chain.products.size() > std::size_t(kernels::FusedNetwork::kMostLayers)) throw Refused{"it has too many layers"};
  return chain;
}

void read_weights(NetworkChain& chain, const Trace& traced) {
  for (std::size_t i = 0; i < chain.products.size(); ++i) {
    const std::vector<int>& inputs = chain.steps[i]->inputs;
    const auto value = [&](std::size_t input) { return &traced.values[std::size_t(inputs[input])].tensor; };
    read_weights(chain.products[i], *value(1), inputs.size() > 2 ? value(2) : nullptr);
  }
}

}  // namespace espalier::pruning
