// Products of dense layers with weights of structured sparsity, 87.5 % zeros (2:4: half), each beside the dense product
// of the same shape, ours and the vendor's, in the precision that it has. flops are those of the kept weights.
#include "apps/benchmarks/pruned_layer.h"
#include "core/device/stream.h"
#include "kernels/gemm_tensor_core.h"
#include "kernels/sparse/block_csr_tensor_core.h"
#include "kernels/sparse/two_four_tensor_core.h"
#include "kernels/sparse/vector_nm_spmm.h"
#include "kernels/sparse/vnm_tensor_core.h"
#include "pruning/structured_functions.h"
#include "pruning/structured_pattern.h"

namespace espalier::benchmarks {
namespace {

using kernels::Transpose;

constexpr double kKept = 0.125;

constexpr PrunedLayer kLayers[] = {
    {"lenet-5 dense_1, batch 128", 128, 500, 800},
    {"1024 x 1024, batch 64", 64, 1024, 1024},
    {"4096 x 4096, batch 256", 256, 4096, 4096, true},
};

// Random, as the pattern leaves it.
Tensor pruned_weight(const PrunedLayer& layer, const pruning::Pattern& pattern) {
  const Tensor scores = random({layer.rows, layer.columns});
  Parameter weight("weight", random({layer.rows, layer.columns}, 2));
  weight.set_mask(pattern({&scores, 1}, {.sparsity = 1 - kKept})[0]);
  return weight.value.value();
}

template <int kHeight>
Variants vector_variants(const PrunedLayer& layer) {
  const LayerOperands t(layer);
  const Tensor weight = pruned_weight(layer, pruning::vector_n_of_m(kHeight, 4, 32));
  const auto vectors = pruning::VectorNm::encode(weight, kHeight);
  const Scratch panels(kernels::vector_nm_panels(layer.batch, vectors.view()).elements());
  Variants variants{{"ours", [=] {
                       kernels::vector_nm_spmm(layer.batch, vectors.view(), t.x.data<float>(), {}, t.y.data<float>(),
                                               panels.floats(), current_stream());
                     }}};
  add_dense(variants, layer, t, weight);
  return variants;
}

// product(view, x, y, operand) beside the dense tensor-core product; both round x first, into `elements` of scratch.
template <class Format, class Product>
Variants tensor_core_variants(const PrunedLayer& layer, const Format& format, std::int64_t elements, Product product) {
  using kernels::half;
  const LayerOperands t(layer);
  const Tensor weight = random_bytes({layer.rows * layer.columns * 2}, 60);  // fp16, any finite numbers
  const Scratch operand = Scratch::of_bytes(std::size_t(elements) * sizeof(half));
  const Scratch narrow = Scratch::of_bytes(std::size_t(layer.batch * layer.columns) * sizeof(half));
  const Scratch scratch(kernels::gemm_tensor_core_workspace_floats(layer.gemm()));
  return {{"ours",
           [=] {
             product(layer.batch, format.view(), t.x.data<float>(), {}, t.y.data<float>(),
                     static_cast<half*>(operand.raw()), current_stream());
           }},
          {"ours, dense", [=] {
             half* const x = static_cast<half*>(narrow.raw());
             kernels::convert(t.x.size(), t.x.data<float>(), x, current_stream());
             kernels::gemm_tensor_core<half, float>(layer.gemm(), Transpose::no, Transpose::yes, x,
                                                    static_cast<const half*>(weight.raw()), t.y.data<float>(), {},
                                                    current_stream(), scratch.get());
           }}};
}

Variants two_four_variants(const PrunedLayer& layer) {
  const auto format = *pruning::TwoFourTensor<kernels::half>::encode(two_four_weight(layer.rows, layer.columns));
  return tensor_core_variants(layer, format, layer.batch * format.view().padded_columns(),
                              kernels::two_four_tensor_core<kernels::half>);
}

Variants vnm_variants(const PrunedLayer& layer) {
  const Tensor weight = pruned_weight(layer, pruning::v_n_m(128, 2, 16));
  const auto format = *pruning::VnmTensor<kernels::half>::encode(weight, 128, 16).weight;
  return tensor_core_variants(layer, format, kernels::vnm_operand_size(layer.batch, format.view()),
                              kernels::vnm_tensor_core<kernels::half>);
}

template <int kBlock>
Variants block_variants(const PrunedLayer& layer) {
  const Tensor weight = pruned_weight(layer, pruning::block(kBlock, kBlock));
  const auto format = pruning::BlockTensor<kernels::half>::encode(weight, kBlock);
  return tensor_core_variants(layer, format, kernels::block_operand_size(layer.batch, format.view()),
                              kernels::block_csr_tensor_core<kernels::half>);
}

void add_on_tensor_cores(Cases& cases, const PrunedLayer& layer) {
  cases.push_back(pruned_layer_case(layer, "two_four_tensor_core, fp16", 0.5, 1.125, two_four_variants));
  cases.back().tensor = true;
  cases.push_back(pruned_layer_case(layer, "vnm_tensor_core, 128:2:16, fp16", kKept, 2.25 * kKept, vnm_variants));
  cases.back().tensor = true;
  cases.push_back(
      pruned_layer_case(layer, "block_csr_tensor_core, 16 x 16, fp16", kKept, 2 * kKept, block_variants<16>));
  cases.back().tensor = true;
}

}  // namespace

Cases structured_cases() {
  Cases cases;
  for (const PrunedLayer& layer : kLayers) {
    cases.push_back(pruned_layer_case(layer, "vector_nm_spmm, 8 x 1, 4 of 32", kKept, 4.5 * kKept, vector_variants<8>));
    cases.push_back(
        pruned_layer_case(layer, "vector_nm_spmm, 32 x 1, 4 of 32", kKept, 4.125 * kKept, vector_variants<32>));
    if (!simt::kEmulated && kernels::has_sparse_tensor_cores()) add_on_tensor_cores(cases, layer);
  }
  return cases;
}

}  // namespace espalier::benchmarks
