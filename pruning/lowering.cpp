#include "pruning/lowering.h"

#include <fmt/format.h>

#include "kernels/gemm_tensor_core.h"
#include "kernels/require.h"
#include "kernels/sparse/block_conv2d.h"
#include "kernels/sparse/block_csr_tensor_core.h"
#include "kernels/sparse/two_four_conv2d.h"
#include "kernels/sparse/vector_nm_spmm.h"
#include "kernels/vendor/blas.h"
#include "layers/activation.h"
#include "layers/dense.h"
#include "pruning/lowering_parts.h"
#include "pruning/structured_functions.h"

namespace espalier::pruning {
namespace {

const DenseFunction* as_dense(const Function& function) { return dynamic_cast<const DenseFunction*>(&function); }

// A copy that may be changed; null where the function is no product.
std::shared_ptr<ProductFunction> copy_of(const Function& function) {
  if (const auto* block = as_block(function)) return std::make_shared<ConvPool2dFunction>(*block);
  if (const auto* conv2d = convolution_of(function)) return std::make_shared<Conv2dFunction>(*conv2d);
  if (const auto* dense = as_dense(function)) return std::make_shared<DenseFunction>(*dense);
  return nullptr;
}

// Where the call is of a block, whatever computes its convolution is followed by the pool; else it is left as it is.
std::shared_ptr<const Function> pooled(std::shared_ptr<const Function> product, const RecordedCall& call) {
  if (!as_block(*call.function)) return product;
  return std::make_shared<PooledFunction>(std::move(product));
}

// The vendor has no block: its convolution, then the pool.
std::shared_ptr<const Function> by_vendor(const RecordedCall& call) {
  std::shared_ptr<ProductFunction> product = copy_of(*call.function);
  if (const auto* block = as_block(*call.function)) {
    product = std::make_shared<Conv2dFunction>(block->without_pool());
  }
  product->math = Math::vendor;
  return pooled(std::move(product), call);
}

std::shared_ptr<const Function> by_hand(const RecordedCall& call) {
  const std::shared_ptr<ProductFunction> product = copy_of(*call.function);
  product->math = Math::handwritten;
  return product;
}

// The dense product in its reduced precision, with its weight as the kernel reads it.
Implementation in_reduced(const RecordedCall& call, Precision precision) {
  Implementation one{.format = "dense",
                     .library = fmt::format("{} {}", to_string(Math::handwritten), to_string(precision)),
                     .precision = precision};
  if (const auto* convolution = convolution_of(*call.function); convolution && !simt::kEmulated) {
    const auto shape = convolution->shape_for(call.inputs[0].shape(), call.inputs[1].shape());
    if (ArrangedConv2dFunction::takes(shape, precision)) {
      const auto product = std::make_shared<ArrangedConv2dFunction>(call.inputs[1], shape, precision, pool_of(call));
      one.weight_bytes = product->weight.bytes(), one.function = finished(product, call);
      return one;
    }
  }
  const auto rounded = std::make_shared<RoundedFunction>(copy_of(*call.function), call.inputs);
  one.weight_bytes = rounded->parameters[0].bytes(), one.function = rounded;
  return one;
}

std::vector<Implementation> lower(const RecordedCall& call, const DenseCandidate& candidate) {
  const Precision precision = dynamic_cast<const ProductFunction&>(*call.function).precision;
  if (precision != Precision::fp32) return {in_reduced(call, precision)};
  std::vector<Implementation> found;
  for (const Math math : {Math::handwritten, Math::vendor}) {
    if (candidate.math != Math::fastest && candidate.math != math) continue;
    if (math == Math::vendor && simt::kEmulated && convolution_of(*call.function)) {  // see kernels/vendor/conv2d.h
      found.push_back(
          refused("dense", std::string(kernels::vendor::blas_name()), "its way is the handwritten one here"));
      continue;
    }
    found.push_back({.format = "dense",
                     .library = std::string(math == Math::vendor ? kernels::vendor::blas_name() : to_string(math)),
                     .function = math == Math::vendor ? by_vendor(call) : by_hand(call),
                     .takes_weight = true,
                     .weight_bytes = call.inputs[1].bytes()});
  }
  return found;
}

std::vector<Implementation> lower(const RecordedCall& call, const CsrCandidate&) { return csr_implementations(call); }

// What the format is on tensor cores, in the precision that the recorded product has; nothing for fp32. make(T()) gives
// the implementation, where T is the type of its operands. `sparse`: the format wants mma.sp.
enum class TensorCores { dense, sparse };
template <class Make>
void add_on_tensor_cores(std::vector<Implementation>& found, const RecordedCall& call, TensorCores cores,
                         const Make& make) {
  const Precision precision = dynamic_cast<const ProductFunction&>(*call.function).precision;
  if (precision == Precision::fp32) return;
  Implementation one{.format = found.front().format,
                     .library = fmt::format("{} {}", to_string(Math::handwritten), to_string(precision)),
                     .precision = precision};
  if (simt::kEmulated) {
    one.not_eligible = "there are no tensor cores here";
  } else if (cores == TensorCores::sparse ? !kernels::has_sparse_tensor_cores()
                                          : !kernels::has_tensor_cores_for(precision)) {
    one.not_eligible = "its tensor cores begin with compute capability 8.0";
  } else if (precision == Precision::fp16) {
    make(kernels::half(), one);
  } else if (precision == Precision::bf16) {
    make(kernels::bfloat16(), one);
  } else {
    make(float(), one);
  }
  found.push_back(std::move(one));
}

// A convolution with filters in vectors of `height`.
Implementation vector_convolution(const RecordedCall& call, std::int64_t height, std::string format) {
  const std::string ours(to_string(Math::handwritten));
  const auto shape = convolution_of(*call.function)->shape_for(call.inputs[0].shape(), call.inputs[1].shape());
  if (!kernels::vectors_fit(shape, height)) {
    return refused(std::move(format), ours, "a group of filters ends within a vector of rows");
  }
  VectorNm vectors = VectorNm::encode(call.inputs[1], height);
  const kernels::VectorNmView view = vectors.view();
  const bool full = view.vectors >= view.groups() * view.columns;
  if (full) return refused(std::move(format), ours, "no vector of weights is empty");
  const std::int64_t bytes = vectors.bytes();
  try {
    const auto product = std::make_shared<VectorNmConv2dFunction>(std::move(vectors), shape, pool_of(call));
    return {.format = std::move(format),
            .library = ours,
            .function = finished(product, call),
            .weight_bytes = bytes,
            .stored = view.vectors * view.height,
            .rows_sharing = double(std::min<std::int64_t>(height, 8))};
  } catch (const InvalidArgument& error) {
    return refused(std::move(format), ours, error.what());
  }
}

// The vendor's two ways with a weight in blocks: as they are (BSR), and as Blocked-ELL where they are square.
void add_vendor_blocks(std::vector<Implementation>& found, const RecordedCall& call, const BlockCsr& blocks) {
  const kernels::BlockCsrView view = blocks.view();
  const std::int64_t batch = call.inputs[0].shape()[0];
  const std::string vendor(kernels::vendor::sparse_name());
  const auto add = [&](const char* layout, auto encode) {
    Implementation one{.format = found.front().format, .library = fmt::format("{} {}", vendor, layout)};
    if (!kernels::vendor::SparseProduct::takes(view)) {
      one.not_eligible = "it takes whole blocks, these stick out of the weight";
    } else {
      try {
        auto weight = encode();
        one.weight_bytes = weight.bytes(), one.rows_sharing = double(view.block_rows);
        one.stored = view.blocks * view.block_rows * view.block_columns;
        one.function =
            finished(std::make_shared<VendorDenseFunction<decltype(weight)>>(std::move(weight), batch), call);
      } catch (const simt::LaunchError& error) {  // a library older than the format
        one.not_eligible = error.what();
      }
    }
    found.push_back(std::move(one));
  };
  add("bsr", [&] { return blocks; });
  if (view.block_rows == view.block_columns) add("blocked-ell", [&] { return BlockedEll::encode(blocks); });
}

// In ordinary cores by vectors of the blocks' rows; on tensor cores by what of the blocks lies within a tap.
std::vector<Implementation> block_convolutions(const RecordedCall& call, const BlockCsrCandidate& candidate,
                                               const std::string& format) {
  const std::string ours(to_string(Math::handwritten));
  std::vector<Implementation> found{kernels::is_vector_height(candidate.rows)
                                        ? vector_convolution(call, candidate.rows, format)
                                        : refused(format, ours, "its convolution takes blocks of 4, 8, 16 or 32 rows")};
  const auto shape = convolution_of(*call.function)->shape_for(call.inputs[0].shape(), call.inputs[1].shape());
  add_on_tensor_cores(found, call, TensorCores::dense, [&]<class T>(T, Implementation& one) {
    try {
      kernels::require_block_conv2d<T>(shape);
    } catch (const InvalidArgument& error) {
      one.not_eligible = error.what();
      return;
    }
    const Tensor matrix = tap_blocks<T>(call.inputs[1], shape);
    auto narrow = FragmentBlocks<T>::encode(matrix);
    const double kept = double(narrow.view().fragments) / double(narrow.view().all_fragments());
    const std::int64_t tile = kernels::block_conv2d_tile(shape, kept);
    if (tile != narrow.view().tile) narrow = FragmentBlocks<T>::encode(matrix, tile);
    const kernels::FragmentBlocksView<T> view = narrow.view();
    if (view.fragments == view.all_fragments()) {
      one.not_eligible = fmt::format("none of the {} blocks of {} filters x {} channels of a tap is empty",
                                     view.fragments, view.kRows, view.kColumns);
      return;
    }
    const auto product = std::make_shared<BlockTensorConv2dFunction<T>>(std::move(narrow), shape, pool_of(call));
    one.weight_bytes = product->bytes(), one.stored = view.fragments * view.kFragment;
    one.rows_sharing = double(view.tile);
    one.function = finished(product, call);
  });
  return found;
}

std::vector<Implementation> lower(const RecordedCall& call, const BlockCsrCandidate& candidate) {
  const std::string format = fmt::format("block csr {}x{}", candidate.rows, candidate.columns);
  const std::string ours(to_string(Math::handwritten));
  if (convolution_of(*call.function)) return block_convolutions(call, candidate, format);
  const BlockCsr blocks = BlockCsr::encode(call.inputs[1], {candidate.rows, candidate.columns});
  const kernels::BlockCsrView view = blocks.view();
  const std::int64_t all = view.block_grid_rows() * view.block_grid_columns();
  if (view.blocks == all) return {refused(format, ours, fmt::format("none of the {} blocks is empty", all))};
  const std::int64_t bytes = blocks.bytes(), stored = view.blocks * candidate.rows * candidate.columns;
  std::vector<Implementation> found{{.format = format,
                                     .library = ours,
                                     .function = finished(std::make_shared<BlockCsrDenseFunction>(blocks), call),
                                     .weight_bytes = bytes,
                                     .stored = stored,
                                     .rows_sharing = double(candidate.rows)}};
  add_vendor_blocks(found, call, blocks);
  if (!kernels::is_tensor_block(candidate.rows, candidate.columns)) return found;
  add_on_tensor_cores(found, call, TensorCores::dense, [&]<class T>(T, Implementation& one) {
    auto narrow = BlockTensor<T>::encode(call.inputs[1], candidate.rows);
    one.weight_bytes = narrow.bytes(), one.stored = stored, one.rows_sharing = double(candidate.rows);
    one.function = finished(std::make_shared<BlockTensorFunction<T>>(std::move(narrow)), call);
  });
  return found;
}

std::vector<Implementation> two_four_convolutions(const RecordedCall& call) {
  std::vector<Implementation> found{
      refused("2:4", std::string(to_string(Math::handwritten)), "its convolution runs on tensor cores alone")};
  const auto shape = convolution_of(*call.function)->shape_for(call.inputs[0].shape(), call.inputs[1].shape());
  add_on_tensor_cores(found, call, TensorCores::sparse, [&]<class T>(T, Implementation& one) {
    try {
      kernels::require_two_four_conv2d<T>(shape);
    } catch (const InvalidArgument& error) {
      one.not_eligible = error.what();
      return;
    }
    auto narrow = TwoFourTensor<T>::encode(channels_last(call.inputs[1], shape));
    if (!narrow) {
      one.not_eligible = "groups of channels of a tap hold more nonzeros than it keeps: 2 of 4, of tf32 1 of 2";
      return;
    }
    const auto product = std::make_shared<TwoFourTensorConv2dFunction<T>>(std::move(*narrow), shape, pool_of(call));
    one.weight_bytes = product->bytes(), one.stored = call.inputs[1].size() / 2;
    one.rows_sharing = double(kernels::TwoFourTensorView<T>::kTile);
    one.function = finished(product, call);
  });
  return found;
}

std::vector<Implementation> lower(const RecordedCall& call, const TwoFourCandidate&) {
  const std::string ours(to_string(Math::handwritten));
  if (convolution_of(*call.function)) return two_four_convolutions(call);
  if (const std::int64_t broken = TwoFour::violations(call.inputs[1]); broken > 0) {
    return {refused("2:4", ours, fmt::format("{} groups of four hold more than two nonzeros", broken))};
  }
  TwoFour two_four = TwoFour::encode(call.inputs[1]);
  const std::int64_t bytes = two_four.bytes();
  std::vector<Implementation> found{
      {.format = "2:4",
       .library = ours,
       .function = finished(std::make_shared<TwoFourDenseFunction>(std::move(two_four)), call),
       .weight_bytes = bytes,
       .stored = call.inputs[1].size() / 2}};
  add_on_tensor_cores(found, call, TensorCores::sparse, [&]<class T>(T, Implementation& one) {
    auto narrow = TwoFourTensor<T>::encode(call.inputs[1]);
    if (!narrow) {
      one.not_eligible = "groups hold more nonzeros than it keeps: 2 of 4, of tf32 1 of 2";
      return;
    }
    one.weight_bytes = narrow->bytes(), one.stored = call.inputs[1].size() / 2;
    one.rows_sharing = double(kernels::TwoFourTensorView<T>::kTile);
    one.function = finished(std::make_shared<TwoFourTensorFunction<T>>(std::move(*narrow)), call);
  });
  return found;
}

std::vector<Implementation> lower(const RecordedCall& call, const VectorNmCandidate& candidate) {
  require(kernels::is_vector_height(candidate.height), "vector_nm: vectors of ", candidate.height,
          " rows; there are kernels for 4, 8, 16 and 32");
  const std::string format = fmt::format("vector {}x1", candidate.height), ours(to_string(Math::handwritten));
  if (convolution_of(*call.function)) return {vector_convolution(call, candidate.height, format)};
  VectorNm vectors = VectorNm::encode(call.inputs[1], candidate.height);
  const kernels::VectorNmView view = vectors.view();
  if (view.vectors >= view.groups() * view.columns) return {refused(format, ours, "no vector of weights is empty")};
  const std::int64_t bytes = vectors.bytes();
  return {{.format = format,
           .library = ours,
           .function = finished(std::make_shared<VectorNmDenseFunction>(std::move(vectors)), call),
           .weight_bytes = bytes,
           .stored = view.vectors * view.height,
           .rows_sharing = double(view.height)}};
}

std::vector<Implementation> lower(const RecordedCall& call, const VnmCandidate& candidate) {
  const auto [height, window] = candidate;
  require(kernels::is_vnm_height(height) && window >= 4 && window <= kernels::VnmTensorView<float>::kMaxWindow,
          "vnm: groups of ", height, " rows, windows of ", window, " columns; needs a multiple of 64, and 4 to 32");
  const std::string format = fmt::format("{}:2:{}", height, window), ours(to_string(Math::handwritten));
  if (convolution_of(*call.function)) return {refused(format, ours, "this format has no convolution")};
  std::vector<Implementation> found{refused(format, ours, "it runs on tensor cores alone")};
  add_on_tensor_cores(found, call, TensorCores::sparse, [&]<class T>(T, Implementation& one) {
    auto encoded = VnmTensor<T>::encode(call.inputs[1], height, window);
    if (!encoded.weight) {
      one.not_eligible = fmt::format("{} windows keep more than four columns, {} groups more than it has room for",
                                     encoded.violations.windows, encoded.violations.groups);
      return;
    }
    const kernels::VnmTensorView<T> view = encoded.weight->view();
    one.weight_bytes = view.bytes(), one.stored = view.rows * view.kept_columns() / 2;
    one.rows_sharing = double(height);
    one.function = finished(std::make_shared<VnmTensorFunction<T>>(std::move(*encoded.weight)), call);
  });
  return found;
}

std::vector<Implementation> lower(const RecordedCall&, const MadeElsewhere&) { return {}; }

}  // namespace

bool is_product(const Function& function) { return convolution_of(function) || as_dense(function); }

std::vector<Implementation> implementations_of(const RecordedCall& call, const Candidate& candidate) {
  return std::visit([&](const auto& chosen) { return lower(call, chosen); }, candidate);
}

std::shared_ptr<const Function> fused(const Function& product, const Function& following) {
  const auto copy = copy_of(product);
  if (!copy) return nullptr;
  if (const auto* pool = dynamic_cast<const MaxPool2dFunction*>(&following)) {
    const auto* const convolution = dynamic_cast<const Conv2dFunction*>(&product);
    const bool fits = ConvPool2dFunction::takes(pool->pool) && ConvPool2dFunction::takes(copy->activation);
    return convolution && fits ? std::make_shared<ConvPool2dFunction>(*convolution) : nullptr;
  }
  const auto* activation = dynamic_cast<const ActivationFunction*>(&following);
  if (!activation || copy->activation != kernels::Activation::none) return nullptr;
  if (as_block(product) && !ConvPool2dFunction::takes(activation->activation)) return nullptr;
  copy->activation = activation->activation;
  copy->slope = activation->slope;
  return copy;
}

bool takes_in_pool(const Function& function) { return as_block(function) != nullptr; }

}  // namespace espalier::pruning
