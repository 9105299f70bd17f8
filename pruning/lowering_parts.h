// What the files that turn a recorded product into implementations share.
#pragma once
#include "layers/conv_pool.h"
#include "pruning/lowering.h"

namespace espalier::pruning {

inline const ConvPool2dFunction* as_block(const Function& function) {
  return dynamic_cast<const ConvPool2dFunction*>(&function);
}

inline kernels::ConvPool pool_of(const RecordedCall& call) {
  return as_block(*call.function) ? kernels::ConvPool::halves : kernels::ConvPool::none;
}

// The sparse function with the bias and the activation of the product that it replaces. A convolution pools by itself.
template <class Sparse>
std::shared_ptr<const Function> finished(std::shared_ptr<Sparse> sparse, const RecordedCall& call) {
  const auto& product = dynamic_cast<const ProductFunction&>(*call.function);
  if (call.inputs.size() > 2) sparse->bias = call.inputs[2].clone();
  sparse->activation = product.activation;
  sparse->slope = product.slope;
  return sparse;
}

inline Implementation refused(std::string format, std::string library, std::string reason) {
  return {.format = std::move(format), .library = std::move(library), .not_eligible = std::move(reason)};
}

// Ours and the vendor's (csr_lowering.cpp).
std::vector<Implementation> csr_implementations(const RecordedCall& call);

}  // namespace espalier::pruning
