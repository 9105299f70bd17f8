#include "pruning/fused_plan.h"

#include <fmt/format.h>

#include "core/device/device_info.h"
#include "core/device/stream.h"
#include "kernels/require.h"
#include "pruning/network_chain.h"

namespace espalier::pruning {
namespace {

using kernels::FusedProduct;

template <class T>
Tensor as_words(const std::vector<T>& values) {
  static_assert(sizeof(T) % sizeof(std::int32_t) == 0);
  if (values.empty()) return Tensor::zeros({1}, DType::i32);
  const auto words = std::int64_t(values.size() * sizeof(T) / sizeof(std::int32_t));
  return Tensor::from_bytes({words}, DType::i32, std::as_bytes(std::span(values)));
}

std::int64_t bytes_of(const FusedNetworkFunction& network) { return network.rows.bytes() + network.nonzeros.bytes(); }

Implementation fused_or_refused(const Trace& traced) {
  NetworkChain chain = chain_of(traced);
  const std::int64_t shared_bytes = shared_bytes_per_block();
  const int images = kernels::fused_images(chain.products, chain.input[0], shared_bytes, device_info().multiprocessors);
  if (images == 0) {
    throw Refused{fmt::format("its activations need more than the {} bytes of a block's shared memory", shared_bytes)};
  }
  read_weights(chain, traced);
  auto function = std::make_shared<FusedNetworkFunction>(chain.products, images, chain.input, chain.output);
  const std::int64_t bytes = bytes_of(*function);
  return {.format = "fused csr", .library = "handwritten", .function = std::move(function), .weight_bytes = bytes};
}

}  // namespace

FusedNetworkFunction::FusedNetworkFunction(std::span<const FusedProduct> products, int images, Shape x, Shape y)
    : WholeNetworkFunction(std::move(x), std::move(y)) {
  const kernels::FusedTables tables = kernels::fused_tables(products, images);
  network = tables.network;
  rows = as_words(tables.rows), nonzeros = as_words(tables.nonzeros);
  scratch_floats =
      kernels::fused_scratch_floats(network, input[0], shared_bytes_per_block(), device_info().multiprocessors);
}

Tensor FusedNetworkFunction::forward(const Tensors& inputs, Context&) const {
  require_input(inputs);
  Tensor y = Tensor::empty(output), maps;
  kernels::Workspace scratch{.floats = scratch_floats};
  if (scratch_floats > 0) maps = Tensor::empty({scratch_floats}), scratch.data = maps.data<float>();
  kernels::fused_network(network, static_cast<const kernels::FusedRow*>(rows.raw()),
                         static_cast<const kernels::FusedNonzero*>(nonzeros.raw()), input[0], inputs[0].data<float>(),
                         y.data<float>(), current_stream(), kernels::SparseTeam::automatic, scratch);
  return y;
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
