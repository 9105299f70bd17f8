// Convolutions with weights of structured sparsity, 87.5 % zeros (2:4: half), each beside our dense convolution of the
// same shape in the precision that it has. flops are those of the kept weights.
#include "apps/benchmarks/case.h"
#include "apps/benchmarks/operands.h"
#include "core/device/stream.h"
#include "kernels/conv2d.h"
#include "kernels/gemm_tensor_core.h"
#include "kernels/sparse/two_four_conv2d.h"
#include "kernels/sparse/vector_nm_conv2d.h"
#include "pruning/structured_functions.h"
#include "pruning/structured_pattern.h"

namespace espalier::benchmarks {
namespace {

constexpr double kKept = 0.125;

// Random, as the pattern leaves it.
Tensor pruned_weight(const pruning::Pattern& pattern, const Shape& shape) {
  const Tensor scores = random(shape);
  Parameter weight("weight", random(shape, 2));
  weight.set_mask(pattern({&scores, 1}, {.sparsity = 1 - kKept})[0]);
  return weight.value.value();
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
  const Tensor weight = pruned_weight(pruning::vector_n_of_m(kHeight, 4, 32), {s.filters, s.patch()});
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

Tensor pruned_weight(const pruning::Pattern& pattern, const kernels::Conv2dShape& s) {
  return pruned_weight(pattern, Shape{s.filters, s.channels, s.kernel_height, s.kernel_width});
}

// From fp32 images, beside the dense convolution of the same weight: both as steps of a plan, which round and arrange
// weights before.
Variants plan_variants(std::shared_ptr<const Function> sparse, const Tensor& weight, const kernels::Conv2dShape& s,
                       Precision precision) {
  const auto dense = std::make_shared<pruning::ArrangedConv2dFunction>(weight, s, precision, kernels::ConvPool::none);
  const Tensor x = random({s.batch, s.channels, s.height, s.width});
  const auto run = [=](const Function& function) {
    Context context{.recording = false};
    function.forward({x}, context);
  };
  return {{"ours", [=] { run(*sparse); }}, {"ours, dense", [=] { run(*dense); }}};
}

template <class T>
Variants two_four_variants(const kernels::Conv2dShape& s, Precision precision) {
  constexpr bool kTf32 = sizeof(T) == 4;
  const Tensor weight = pruned_weight(pruning::n_of_m_channels(kTf32 ? 1 : 2, kTf32 ? 2 : 4), s);
  return plan_variants(std::make_shared<pruning::TwoFourTensorConv2dFunction<T>>(
                           *pruning::TwoFourTensor<T>::encode(pruning::channels_last(weight, s)), s),
                       weight, s, precision);
}

template <class T>
Variants block_variants(const kernels::Conv2dShape& s, Precision precision) {
  const Tensor weight = pruned_weight(pruning::block_channels(16, 16), s);
  return plan_variants(std::make_shared<pruning::BlockTensorConv2dFunction<T>>(
                           pruning::FragmentBlocks<T>::encode(pruning::tap_blocks<T>(weight, s)), s),
                       weight, s, precision);
}

// `kept` of the weights, at so many bytes each.
Case tensor_core_case(const Convolution& layer, std::string kernel, double kept, double weight_bytes,
                      Variants (*variants)(const kernels::Conv2dShape&, Precision), Precision precision) {
  const kernels::Conv2dShape s = layer.shape;
  return {.kernel = std::move(kernel) + ", " + std::string(to_string(precision)),
          .shape = layer.name,
          .flops = kept * double(s.flops()),
          .bytes = kept * weight_bytes * double(s.weight_size()) + 4.0 * double(s.input_size() + s.output_size()),
          .prepare = [=] { return variants(s, precision); },
          .tensor = true};
}

template <class T>
void add_on_tensor_cores(Cases& cases, const Convolution& layer, Precision precision) {
  constexpr double kBytes = sizeof(T);
  if (kernels::has_sparse_tensor_cores()) {
    cases.push_back(tensor_core_case(layer, "two_four_conv2d", 0.5, kBytes + 0.25, two_four_variants<T>, precision));
  }
  if (kernels::has_tensor_cores_for(precision)) {
    cases.push_back(tensor_core_case(layer, "block_conv2d, 16 x 16", kKept, kBytes, block_variants<T>, precision));
  }
}

}  // namespace

Cases structured_convolution_cases() {
  Cases cases{vector_convolution_case()};
  if (simt::kEmulated) return cases;
  for (const Convolution& layer : kConvolutions) {
    add_on_tensor_cores<kernels::half>(cases, layer, Precision::fp16);
    add_on_tensor_cores<kernels::bfloat16>(cases, layer, Precision::bf16);
    add_on_tensor_cores<float>(cases, layer, Precision::tf32);
  }
  return cases;
}

}  // namespace espalier::benchmarks
