// Products with weights of structured sparsity, 87.5 % zeros (2:4: half), each beside the dense product of the same
// shape, ours and the vendor's, in the precision that it has. flops are those of the kept weights.
#include "apps/benchmarks/pruned_layer.h"
#include "core/device/stream.h"
#include "kernels/conv2d.h"
#include "kernels/conv2d_tensor_core.h"
#include "kernels/gemm_tensor_core.h"
#include "kernels/sparse/block_csr_tensor_core.h"
#include "kernels/sparse/two_four_conv2d.h"
#include "kernels/sparse/two_four_tensor_core.h"
#include "kernels/sparse/vector_nm_conv2d.h"
#include "kernels/sparse/vector_nm_spmm.h"
#include "kernels/sparse/vnm_tensor_core.h"
#include "layers/reduced_precision.h"
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
  const Scratch panels(kernels::vector_nm_panels(layer.batch, vectors.view()).floats());
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

constexpr kernels::Conv2dShape kConvolution{.batch = 32,
                                            .channels = 64,
                                            .height = 28,
                                            .width = 28,
                                            .filters = 64,
                                            .kernel_height = 3,
                                            .kernel_width = 3,
                                            .stride = 1,
                                            .padding = 1};

template <int kHeight>
Variants vector_convolution_variants() {
  constexpr kernels::Conv2dShape s = kConvolution;
  const PrunedLayer matrix{"", 1, s.filters, s.patch()};
  const Tensor weight = pruned_weight(matrix, pruning::vector_n_of_m(kHeight, 4, 32));
  const Tensor x = random({s.input_size()}), y = Tensor::empty({s.output_size()});
  const auto vectors = pruning::VectorNm::encode(weight, kHeight);
  const auto layout = kernels::vector_nm_conv2d_layout(s);
  const Tensor offsets = Tensor::empty({vectors.view().vectors}, DType::i32);
  kernels::csr_conv2d_offsets(s, layout, vectors.view().vectors, vectors.view().column_indices,
                              offsets.data<std::int32_t>(), current_stream());
  const Scratch scratch(kernels::conv2d_forward_workspace(s));
  return {{"ours",
           [=] {
             kernels::VectorNmView by_offset = vectors.view();
             by_offset.column_indices = offsets.data<std::int32_t>();
             kernels::vector_nm_conv2d(s, layout, by_offset, x.data<float>(), {}, y.data<float>(), current_stream());
           }},
          {"ours, dense", [=] {
             kernels::conv2d_forward(s, x.data<float>(), weight.data<float>(), nullptr, y.data<float>(),
                                     kernels::Activation::none, current_stream(), kernels::Conv2dMethod::fastest,
                                     kernels::kDefaultLeakySlope, scratch.get());
           }}};
}

Case vector_convolution_case() {
  constexpr kernels::Conv2dShape s = kConvolution;
  return {.kernel = "vector_nm_conv2d, 8 x 1, 4 of 32",
          .shape = "64 -> 64, 3x3, 28 x 28, batch 32",
          .flops = kKept * double(s.flops()),
          .bytes = 4.5 * kKept * double(s.weight_size()) + 4.0 * double(s.input_size() + s.output_size()),
          .prepare = vector_convolution_variants<8>};
}

struct Convolution {
  const char* name;
  kernels::Conv2dShape shape;
};
constexpr Convolution kConvolutions[] = {{"64 -> 64, 3x3, 28 x 28, batch 32", kConvolution},
                                         {"256 -> 256, 3x3, 14 x 14, batch 32", {32, 256, 14, 14, 256, 3, 3, 1, 1}}};

// From fp32 images, as a plan has them, beside the dense tensor-core convolution of the same.
template <class T>
Variants two_four_convolution_variants(const kernels::Conv2dShape& s, kernels::Precision precision) {
  constexpr auto nchw = kernels::Conv2dLayout::nchw;
  const Tensor scores = random({s.filters, s.channels, s.kernel_height, s.kernel_width});
  Parameter weight("weight", random(scores.shape(), 2));
  constexpr bool kTf32 = sizeof(T) == 4;
  weight.set_mask(pruning::n_of_m_channels(kTf32 ? 1 : 2, kTf32 ? 2 : 4)({&scores, 1}, {})[0]);
  const Tensor dense = operand(weight.value.value(), precision);
  const pruning::TwoFourTensorConv2dFunction<T> function(
      *pruning::TwoFourTensor<T>::encode(pruning::channels_last(weight.value.value(), s)), s);
  const Tensor x = random({s.batch, s.channels, s.height, s.width}), y = Tensor::empty({s.output_size()});
  const Scratch images = Scratch::of_bytes(std::size_t(kernels::two_four_conv2d_operand_size(s)) * sizeof(T));
  const auto direction = kernels::Conv2dDirection::forward;
  const Scratch scratch(kernels::conv2d_tensor_core_workspace(s, nchw, direction, precision));
  return {{"ours",
           [=] {
             kernels::two_four_conv2d<T>(
                 s, function.weight.view(), static_cast<const kernels::PatchTap*>(function.taps.raw()),
                 {.x = x.data<float>(), .y = y.data<float>()}, {}, static_cast<T*>(images.raw()), current_stream());
           }},
          {"ours, dense", [=] {
             const Tensor narrow = operand(x, precision);
             kernels::conv2d_forward_tensor_core<T>(s, nchw, static_cast<const T*>(narrow.raw()),
                                                    static_cast<const T*>(dense.raw()), nullptr, y.data<float>(),
                                                    kernels::Activation::none, scratch.get(), current_stream());
           }}};
}

template <class T>
Case two_four_convolution_case(const Convolution& layer, kernels::Precision precision, const std::string& name) {
  const kernels::Conv2dShape s = layer.shape;
  const double weight_bytes = sizeof(T) == 4 ? 2.125 : 1.125;
  return {.kernel = "two_four_conv2d, " + name,
          .shape = layer.name,
          .flops = double(s.flops()) / 2,
          .bytes = weight_bytes * double(s.weight_size()) + 4.0 * double(s.input_size() + s.output_size()),
          .prepare = [=] { return two_four_convolution_variants<T>(s, precision); },
          .tensor = true};
}

void add_convolutions(Cases& cases) {
  cases.push_back(vector_convolution_case());
  if (simt::kEmulated || !kernels::has_sparse_tensor_cores()) return;
  for (const Convolution& layer : kConvolutions) {
    cases.push_back(two_four_convolution_case<kernels::half>(layer, kernels::Precision::fp16, "fp16"));
    cases.push_back(two_four_convolution_case<kernels::bfloat16>(layer, kernels::Precision::bf16, "bf16"));
    cases.push_back(two_four_convolution_case<float>(layer, kernels::Precision::tf32, "tf32"));
  }
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
  add_convolutions(cases);
  return cases;
}

}  // namespace espalier::benchmarks
