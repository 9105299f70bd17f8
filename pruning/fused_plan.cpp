#include "pruning/fused_plan.h"

#include <fmt/format.h>

#include "core/device/device_info.h"
#include "core/device/stream.h"
#include "kernels/require.h"
#include "layers/conv_pool.h"
#include "layers/dense.h"
#include "layers/flatten.h"

namespace espalier::pruning {
namespace {

using kernels::FusedProduct;
constexpr std::int64_t kMostWeights = 1 << 24;  // of a layer: a larger one belongs to no small network

struct Refused {
  std::string why;
};

template <class T>
Tensor as_words(const std::vector<T>& values) {
  static_assert(sizeof(T) % sizeof(std::int32_t) == 0);
  if (values.empty()) return Tensor::zeros({1}, DType::i32);
  const auto words = std::int64_t(values.size() * sizeof(T) / sizeof(std::int32_t));
  return Tensor::from_bytes({words}, DType::i32, std::as_bytes(std::span(values)));
}

void encode(const std::vector<float>& weight, FusedProduct& product) {
  const std::int64_t columns = product.shape.patch();
  product.row_offsets.assign(1, 0);
  for (std::int64_t i = 0; i < std::int64_t(weight.size()); ++i) {
    if (weight[std::size_t(i)] != 0.0f) {
      product.column_indices.push_back(std::int32_t(i % columns));
      product.values.push_back(weight[std::size_t(i)]);
    }
    if (i % columns == columns - 1) product.row_offsets.push_back(std::int32_t(product.values.size()));
  }
}

// Shape and attributes; the weight is read later, when all shapes are known to fit.
FusedProduct product_of(const Function& function, const Shape& x, const Shape& weight) {
  FusedProduct product;
  if (const auto* block = dynamic_cast<const ConvPool2dFunction*>(&function)) {
    product.shape = block->convolution.shape_for(x, weight), product.pool = true;
  } else if (const auto* conv2d = dynamic_cast<const Conv2dFunction*>(&function)) {
    product.shape = conv2d->shape_for(x, weight);
  } else if (dynamic_cast<const DenseFunction*>(&function)) {
    product.shape = {.width = weight[1], .filters = weight[0], .kernel_width = weight[1]};
  } else {
    throw Refused{fmt::format("a step {} is none that a fused network has", function.name())};
  }
  const auto& attributes = dynamic_cast<const ProductFunction&>(function);
  if (attributes.precision != Precision::fp32) throw Refused{"a fused network computes in fp32"};
  if (product.shape.weight_size() > kMostWeights) throw Refused{fmt::format("{} is too large", attributes.label)};
  product.activation = attributes.activation, product.slope = attributes.slope;
  return product;
}

struct Chain {
  std::vector<FusedProduct> products;
  std::vector<const Trace::Step*> steps;  // of the products
};

Chain chain_of(const Trace& traced) {
  Chain chain;
  int value = traced.input;
  for (const Trace::Step& step : traced.steps) {
    if (step.inputs[0] != value) throw Refused{"its layers are no chain"};
    value = step.output;
    if (dynamic_cast<const FlattenFunction*>(step.function.get())) continue;
    const bool has_weight = step.inputs.size() > 1 && traced.values[std::size_t(step.inputs[1])].constant;
    if (!has_weight) throw Refused{fmt::format("a step {} is none that a fused network has", step.function->name())};
    chain.products.push_back(product_of(*step.function, traced.values[std::size_t(step.inputs[0])].tensor.shape(),
                                        traced.values[std::size_t(step.inputs[1])].tensor.shape()));
    chain.steps.push_back(&step);
  }
  if (value != traced.output || chain.products.empty()) throw Refused{"its layers are no chain"};
  if (chain.products.size() > std::size_t(kernels::FusedNetwork::kMostLayers)) throw Refused{"it has too many layers"};
  return chain;
}

std::int64_t bytes_of(const FusedNetworkFunction& network) { return network.rows.bytes() + network.nonzeros.bytes(); }

Implementation fused_or_refused(const Trace& traced) {
  Chain chain = chain_of(traced);
  const Shape &x = traced.values[std::size_t(traced.input)].tensor.shape(),
              &y = traced.values[std::size_t(traced.output)].tensor.shape();
  const std::int64_t shared_bytes = shared_bytes_per_block();
  const int images = kernels::fused_images(chain.products, x[0], shared_bytes, device_info().multiprocessors);
  if (images == 0) {
    throw Refused{fmt::format("its activations need more than the {} bytes of a block's shared memory", shared_bytes)};
  }
  for (std::size_t i = 0; i < chain.products.size(); ++i) {
    const auto value = [&](std::size_t input) {
      return traced.values[std::size_t(chain.steps[i]->inputs[input])].tensor.to_host();
    };
    encode(value(1), chain.products[i]);
    if (chain.steps[i]->inputs.size() > 2) chain.products[i].bias = value(2);
  }
  auto function = std::make_shared<FusedNetworkFunction>(chain.products, images, x, y);
  const std::int64_t bytes = bytes_of(*function);
  return {.format = "fused csr", .library = "handwritten", .function = std::move(function), .weight_bytes = bytes};
}

}  // namespace

FusedNetworkFunction::FusedNetworkFunction(std::span<const FusedProduct> products, int images, Shape x, Shape y)
    : input(std::move(x)), output(std::move(y)) {
  const kernels::FusedTables tables = kernels::fused_tables(products, images);
  network = tables.network;
  rows = as_words(tables.rows), nonzeros = as_words(tables.nonzeros);
}

Tensor FusedNetworkFunction::forward(const Tensors& inputs, Context&) const {
  require(inputs[0].shape() == input, "network, fused csr: input ", inputs[0].shape().to_string(), ", compiled for ",
          input.to_string());
  Tensor y = Tensor::empty(output);
  kernels::fused_network(network, static_cast<const kernels::FusedRow*>(rows.raw()),
                         static_cast<const kernels::FusedNonzero*>(nonzeros.raw()), input[0], inputs[0].data<float>(),
                         y.data<float>(), current_stream());
  return y;
}

Tensors FusedNetworkFunction::backward(const Tensor&, const Context&) const {
  throw InvalidArgument("network, fused csr: a plan has no backward; train the model it was compiled from");
}

Implementation fuse_network(const Trace& traced) {
  try {
    return fused_or_refused(traced);
  } catch (const Refused& refused) {
    return {.format = "fused csr", .library = "handwritten", .not_eligible = refused.why};
  } catch (const InvalidArgument& error) {  // layers that only a view in between makes fit
    return {.format = "fused csr", .library = "handwritten", .not_eligible = error.what()};
  }
}

}  // namespace espalier::pruning
