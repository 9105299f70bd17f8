// Products with a pruned weight, 90 % zeros, each beside the dense product of the same shape, ours and the vendor's,
// and the vendor's sparse one. flops are those of the kept weights.
#include <memory>

#include "apps/benchmarks/pruned_layer.h"
#include "core/device/stream.h"
#include "core/train/kept_weights.h"
#include "kernels/conv2d.h"
#include "kernels/gemm.h"
#include "kernels/sparse/block_csr_spmm.h"
#include "kernels/sparse/csr_conv2d.h"
#include "kernels/sparse/csr_resident_spmm.h"
#include "kernels/sparse/csr_sddmm.h"
#include "kernels/sparse/csr_slab_spmm.h"
#include "kernels/sparse/csr_spmm.h"
#include "kernels/sparse/csr_spmv.h"
#include "kernels/sparse/two_four_spmm.h"
#include "kernels/vendor/blas.h"
#include "kernels/vendor/sparse.h"
#include "pruning/format.h"

namespace espalier::benchmarks {
namespace {

using kernels::SparseTeam;
using kernels::Transpose;

constexpr double kSparsity = 0.9;

constexpr PrunedLayer kLayers[] = {
    {"lenet-5 dense_1, batch 1", 1, 500, 800},
    {"lenet-5 dense_1, batch 128", 128, 500, 800},
    {"lenet-5 dense_1, batch 1024", 1024, 500, 800, true},
    {"lenet-5 dense_1, batch 4096", 4096, 500, 800, true},
    {"lenet-300-100 dense_1, batch 128", 128, 300, 784},
    {"seed-cnn dense_1, batch 128", 128, 64, 1600},
    {"4096 x 4096, batch 1", 1, 4096, 4096},
    {"4096 x 4096, batch 32", 32, 4096, 4096},
    {"4096 x 4096, batch 256", 256, 4096, 4096, true},
};

// The same product by the arrangements that a GPU prefers for one sample or for several, the faster one (as
// modelled) first.
void add_arranged(Variants& variants, const PrunedLayer& layer, const LayerOperands& t, const pruning::Csr& csr) {
  if (layer.batch == 1) {
    const auto pieces = pruning::PieceCsr<float>::encode(csr);
    variants.push_back({"ours, pieces", [=] {
                          kernels::csr_spmv(layer.batch, pieces.view(), t.x.data<float>(), {}, t.y.data<float>(),
                                            current_stream());
                        }});
    return;
  }
  const auto slabs = pruning::SlabCsr::encode(csr, layer.batch);
  const Scratch panels(kernels::csr_slab_panels<float>(layer.batch, layer.columns).elements());
  const Variant of_slabs{"ours, slabs", [=] {
                           kernels::csr_slab_spmm(layer.batch, slabs.view(), t.x.data<float>(), {}, t.y.data<float>(),
                                                  panels.floats(), current_stream());
                         }};
  const auto resident = pruning::ResidentCsr::encode(csr, layer.batch);
  const Scratch partial(kernels::csr_resident_scratch(layer.batch, resident.view()));
  const Variant of_panel{"ours, resident panel", [=] {
                           kernels::csr_resident_spmm<float>(layer.batch, resident.view(), t.x.data<float>(), {},
                                                      t.y.data<float>(), partial.floats(), current_stream());
                         }};
  const bool panel_first = layer.batch < 64 || resident.view().chunks() == 1;
  variants.push_back(panel_first ? of_panel : of_slabs);
  variants.push_back(panel_first ? of_slabs : of_panel);
  const auto narrow = pruning::SlabCsr::encode(csr, layer.batch, Precision::bf16);
  const auto narrow_shape = kernels::csr_slab_panels<kernels::bfloat16>(layer.batch, layer.columns);
  const Tensor narrow_panels = Tensor::empty({narrow_shape.elements()}, DType::bf16);
  variants.push_back({"ours, slabs of bf16", [=] {
                        kernels::csr_slab_spmm(layer.batch, narrow.view(), t.x.data<float>(), {}, t.y.data<float>(),
                                               static_cast<kernels::bfloat16*>(narrow_panels.raw()), current_stream());
                      }});
  const auto paired = pruning::ResidentCsr::encode(csr, layer.batch, Precision::bf16);
  const Scratch paired_partial(kernels::csr_resident_scratch(layer.batch, paired.view()));
  variants.push_back({"ours, resident panel of bf16", [=] {
                        kernels::csr_resident_spmm<kernels::bfloat16>(layer.batch, paired.view(), t.x.data<float>(), {},
                                                                      t.y.data<float>(), paired_partial.floats(),
                                                                      current_stream());
                      }});
}

Variants csr_variants(const PrunedLayer& layer) {
  const LayerOperands t(layer);
  const Tensor weight = sparse_weight({layer.rows, layer.columns}, kSparsity);
  const auto csr = pruning::Csr::encode(weight);
  const Scratch scratch(kernels::csr_spmm_workspace(layer.batch, csr.view()));
  Variants variants;
  if (!simt::kEmulated) add_arranged(variants, layer, t, csr);
  variants.push_back({"ours, rows", [=] {
                        kernels::csr_spmm(layer.batch, csr.view(), t.x.data<float>(), {}, t.y.data<float>(),
                                          scratch.get(), current_stream());
                      }});
  const auto product = std::make_shared<kernels::vendor::CsrProduct>(csr.view(), layer.batch);
  const Scratch theirs(product->workspace_floats());
  product->prepare(theirs.floats(), current_stream());
  variants.push_back({std::string(kernels::vendor::sparse_name()), [=] {
                        static_cast<void>(csr), static_cast<void>(theirs);
                        (*product)(t.x.data<float>(), {}, t.y.data<float>(), current_stream());
                      }});
  add_dense(variants, layer, t, weight);
  return variants;
}

Scratch panels(const PrunedLayer& layer) {
  return Scratch(kernels::panel_shape(layer.batch, layer.columns, SparseTeam::automatic).elements());
}

Variants block_variants(const PrunedLayer& layer) {
  const LayerOperands t(layer);
  const Tensor weight = block_sparse_weight(layer.rows, layer.columns, kSparsity);
  const auto format = pruning::BlockCsr::encode(weight, {8, 8});
  const Scratch scratch = panels(layer);
  Variants variants{{"ours", [=] {
                       kernels::block_csr_spmm(layer.batch, format.view(), t.x.data<float>(), {}, t.y.data<float>(),
                                               scratch.floats(), current_stream());
                     }}};
  add_dense(variants, layer, t, weight);
  return variants;
}

Variants two_four_variants(const PrunedLayer& layer) {
  const LayerOperands t(layer);
  const Tensor weight = two_four_weight(layer.rows, layer.columns);
  const auto format = pruning::TwoFour::encode(weight);
  const Scratch scratch = panels(layer);
  Variants variants{{"ours", [=] {
                       kernels::two_four_spmm(layer.batch, format.view(), t.x.data<float>(), {}, t.y.data<float>(),
                                              scratch.floats(), current_stream());
                     }}};
  add_dense(variants, layer, t, weight);
  return variants;
}

// The gradient of the kept weights, of operands that training has in panels already.
Variants gradient_variants(const PrunedLayer& layer) {
  const Tensor x = random({layer.batch, layer.columns}), dy = random({layer.batch, layer.rows}, 2);
  const Tensor x_panels = panels_of(x), dy_panels = panels_of(dy);
  const auto kept = std::make_shared<KeptWeights>(keep_of(sparse_weight({layer.rows, layer.columns}, kSparsity)));
  const Tensor dw = Tensor::empty({layer.rows, layer.columns});
  const kernels::GemmShape s{layer.rows, layer.columns, layer.batch};
  const Scratch scratch(kernels::gemm_workspace_floats(s)), theirs(kernels::vendor::gemm_workspace_floats(s));
  const auto sampled = std::make_shared<kernels::vendor::SampledProduct>(kept->view(), layer.batch);
  const Scratch of_sampled(sampled->workspace_floats());
  sampled->prepare(of_sampled.floats(), current_stream());
  return {{"ours",
           [=] {
             kernels::csr_sddmm(layer.batch, kept->view(), dy_panels.data<float>(), x_panels.data<float>(),
                                dw.data<float>(), nullptr, current_stream());
           }},
          {std::string(kernels::vendor::sparse_name()),
           [=] {
             static_cast<void>(kept), static_cast<void>(of_sampled);
             (*sampled)(dy.data<float>(), x.data<float>(), dw.data<float>(), current_stream());
           }},
          {"ours, dense",
           [=] {
             kernels::gemm(s, Transpose::yes, Transpose::no, dy.data<float>(), x.data<float>(), dw.data<float>(), {},
                           current_stream(), scratch.get());
           }},
          {std::string(kernels::vendor::blas_name()) + ", dense", [=] {
             kernels::vendor::gemm(s, Transpose::yes, Transpose::no, dy.data<float>(), x.data<float>(),
                                   dw.data<float>(), {}, current_stream(), theirs.get());
           }}};
}

struct Convolution {
  const char* name;
  kernels::Conv2dShape shape;
};
constexpr Convolution kConvolutions[] = {
    {"lenet-5 conv2d_2, batch 128", {128, 20, 12, 12, 50, 5, 5}},
    {"seed-cnn conv2d_2, batch 128", {128, 32, 13, 13, 64, 3, 3}},
    {"64 -> 64, 3x3, 28 x 28, batch 32", {32, 64, 28, 28, 64, 3, 3, 1, 1}},
};

Variants convolution_variants(const kernels::Conv2dShape& s) {
  const Tensor x = random({s.input_size()}), y = Tensor::empty({s.output_size()});
  const Tensor weight = sparse_weight({s.filters, s.patch()}, kSparsity);
  const auto csr = pruning::Csr::encode(weight);
  const auto layout = kernels::csr_conv2d_layout(s);
  const Tensor offsets = Tensor::empty({csr.view().nonzeros}, DType::i32);
  kernels::csr_conv2d_offsets(s, layout, csr.view(), offsets.data<std::int32_t>(), current_stream());
  const Scratch scratch(kernels::conv2d_forward_workspace(s));
  return {{"ours",
           [=] {
             kernels::CsrView by_offset = csr.view();
             by_offset.column_indices = offsets.data<std::int32_t>();
             kernels::csr_conv2d(s, layout, by_offset, x.data<float>(), {}, y.data<float>(), current_stream());
           }},
          {"ours, dense", [=] {
             kernels::conv2d_forward(s, x.data<float>(), weight.data<float>(), nullptr, y.data<float>(),
                                     kernels::Activation::none, current_stream(), kernels::Conv2dMethod::fastest,
                                     kernels::kDefaultLeakySlope, scratch.get());
           }}};
}

}  // namespace

Cases sparse_cases() {
  Cases cases;
  constexpr double kKept = 1 - kSparsity;
  for (const PrunedLayer& layer : kLayers) {
    cases.push_back(pruned_layer_case(layer, "csr_spmm, 90 %", kKept, 8 * kKept, csr_variants));
    cases.push_back(
        pruned_layer_case(layer, "block_csr_spmm, 8 x 8, 90 %", kKept, (4 + 4.0 / 64) * kKept, block_variants));
    cases.push_back(pruned_layer_case(layer, "two_four_spmm", 0.5, 2.125, two_four_variants));
    if (layer.batch > 1) {
      cases.push_back(pruned_layer_case(layer, "csr_sddmm, 90 %", kKept, 8 * kKept, gradient_variants));
    }
  }
  for (const Convolution& convolution : kConvolutions) {
    const auto s = convolution.shape;
    cases.push_back({.kernel = "csr_conv2d, 90 %",
                     .shape = convolution.name,
                     .flops = kKept * double(s.flops()),
                     .bytes = 8 * kKept * double(s.weight_size()) + 4.0 * double(s.input_size() + s.output_size()),
                     .prepare = [=] { return convolution_variants(s); }});
  }
  return cases;
}

}  // namespace espalier::benchmarks
