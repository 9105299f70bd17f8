#include "pruning/product_steps.h"

#include "layers/activation.h"
#include "layers/conv_pool.h"
#include "layers/dense.h"

namespace espalier::pruning {
namespace {

// The only step that reads the value, or null.
const Trace::Step* reader_of(const Trace& trace, int value) {
  const Trace::Step* reader = nullptr;
  for (const Trace::Step& step : trace.steps) {
    for (const int input : step.inputs) {
      if (input != value) continue;
      if (reader) return nullptr;
      reader = &step;
    }
  }
  return reader;
}

}  // namespace

Trace trace_inference(Module& model, const Tensor& input) {
  const bool training = model.training();
  model.set_training(false);
  Trace traced = trace([&](const Variable& x) { return model(x); }, input);
  model.set_training(training);
  return traced;
}

std::vector<ProductStep> product_steps(const Trace& trace) {
  std::vector<ProductStep> products;
  for (std::size_t i = 0; i < trace.steps.size(); ++i) {
    const Trace::Step& step = trace.steps[i];
    const auto* const convolution = convolution_of(*step.function);
    if (!convolution && !dynamic_cast<const DenseFunction*>(step.function.get())) continue;
    ProductStep product{.step = int(i),
                        .input = step.inputs[0],
                        .output = step.output,
                        .weight = trace.values[std::size_t(step.inputs[1])].tensor};
    if (convolution) {
      const Shape& x = trace.values[std::size_t(product.input)].tensor.shape();
      const kernels::Conv2dShape shape = convolution->shape_for(x, product.weight.shape());
      product.groups = convolution->groups;
      product.uses = shape.out_height() * shape.out_width();
    }
    products.push_back(std::move(product));
  }
  return products;
}

int activated_output(const Trace& trace, const ProductStep& product) {
  const auto* const own = dynamic_cast<const ProductFunction*>(trace.steps[std::size_t(product.step)].function.get());
  if (own && own->activation != kernels::Activation::none) return product.output;
  int value = product.output;
  for (const Trace::Step* step = reader_of(trace, value); step; step = reader_of(trace, value)) {
    const bool activates = dynamic_cast<const ActivationFunction*>(step->function.get()) != nullptr;
    const bool passes = step->function->name() == "batch_norm" || step->function->name() == "max_pool2d";
    if (!activates && !passes) break;
    value = step->output;
    if (activates) return value;
  }
  return product.output;
}

}  // namespace espalier::pruning
