// Structured formats and their products as steps of a plan: right, and refused with a reason where they do not apply.
#include "pruning/structured_functions.h"

#include <doctest/doctest.h>

#include "core/device/precision.h"
#include "kernels/gemm_tensor_core.h"
#include "kernels/require.h"
#include "kernels/sparse/two_four_tensor_core.h"
#include "layers/activation.h"
#include "layers/conv2d.h"
#include "layers/dense.h"
#include "layers/flatten.h"
#include "layers/pool2d.h"
#include "layers/sequential.h"
#include "pruning/plan.h"
#include "pruning/pruner.h"
#include "pruning/structured_pattern.h"
#include "tests/support/evaluated.h"
#include "tests/support/narrow.h"
#include "tests/support/sparse_problems.h"

namespace espalier::pruning {
namespace {

using test::evaluated;
using test::random_images;

CompileOptions only(std::vector<Candidate> candidates) {
  return {.candidates = std::move(candidates),
          .timing = {.warmup = 0, .min_repeats = 1, .max_repeats = 1, .budget_ms = 0},
          .rounds = 1};
}

TEST_CASE("structured formats: decode(encode(w)) == w") {
  const auto values = test::sparse_weight(37, 45, 0.8, 1);
  const Tensor weight = Tensor::from({37, 45}, std::span<const float>(values));
  for (const std::int64_t height : {4, 8, 16, 32}) {
    const VectorNm vectors = VectorNm::encode(weight, height);
    CHECK(vectors.decode().to_host() == values);
    CHECK(vectors.bytes() > 0);
  }
  const std::vector<float> three{1, 2, 3, 0};
  CHECK(!TwoFourTensor<kernels::half>::encode(Tensor::from({1, 4}, std::span<const float>(three))));
}

TEST_CASE("plan: vectors of neighbouring rows are used where they alone may be, and are right") {
  for (const int height : {4, 16}) {
    Sequential model(Dense(70, 50, {.seed = 1}), Relu(), Dense(50, 5, {.bias = false, .seed = 2}));
    Pruner(model, {.pattern = vector(height)}).prune_to(0.8);
    const Shape shape{9, 70};
    const Plan plan = compile(model, shape, only({vector_nm(height)}));
    CHECK(plan.steps()[0].format == "vector " + std::to_string(height) + "x1");
    const Tensor images = random_images(shape);
    CHECK(test::difference(plan(images).to_host(), evaluated(model, images), 1e-4, 1e-5) == "");
  }
}

TEST_CASE("plan: convolutions run in vectors and in blocks of filters, with activation and pool, and in groups") {
  Sequential model(Conv2d(3, 20, {.kernel = 3, .padding = 1, .seed = 1}), Relu(), MaxPool2d(2),
                   Conv2d(20, 16, {.kernel = 3, .groups = 2, .seed = 2}), Relu(), Flatten(),
                   Dense(16 * 3 * 3, 5, {.seed = 3}));
  Pruner(model, {.pattern = block(8, 4), .scope = Scope::local}).prune_to(0.6);
  const Shape shape{3, 3, 10, 10};
  const Tensor images = random_images(shape);
  for (const Candidate& candidate : {vector_nm(8), block_csr(8, 4), csr()}) {
    const Plan plan = compile(model, shape, only({candidate}));
    for (const std::size_t step : {0, 1}) CHECK(plan.steps()[step].format != "dense");
    CHECK(test::difference(plan(images).to_host(), evaluated(model, images), 1e-4, 1e-5) == "");
  }
  const Plan refused = compile(model, shape, only({vector_nm(16)}));
  CHECK(refused.steps()[1].candidates[0].note == "a group of filters ends within a vector of rows");
}

TEST_CASE("plan: vectors are refused where none is empty, unknown heights name those that there are") {
  Sequential model(Dense(24, 8, {.seed = 1}));
  const Plan plan = compile(model, {2, 24}, only({vector_nm(8)}));
  CHECK(plan.steps()[0].candidates[0].note == "no vector of weights is empty");
  CHECK_THROWS_AS(compile(model, {2, 24}, only({vector_nm(5)})), InvalidArgument);
}

TEST_CASE("plan: 2:4 runs on tensor cores only in the precision that the model was run in") {
  Sequential model(Dense(70, 50, {.seed = 1}));
  Pruner(model, {.pattern = n_of_m(2, 4, RaggedRows::shorter_run)}).prune_to(0.5);
  CHECK(compile(model, {9, 70}, only({two_four()})).steps()[0].candidates.size() == 1);
  if (!kernels::has_tensor_cores_for(Precision::fp16)) return;
  const PrecisionScope scope(Precision::fp16);
  const Plan plan = compile(model, {9, 70}, only({two_four()}));
  const auto& candidates = plan.steps()[0].candidates;
  CHECK(candidates.size() == 2);
  CHECK(candidates[1].library == "handwritten fp16");
  CHECK(candidates[1].us.has_value() == (!simt::kEmulated && kernels::has_sparse_tensor_cores()));
  const Tensor images = random_images({9, 70});
  CHECK(test::difference(plan(images).to_host(), evaluated(model, images), 1e-2, 1e-2) == "");
}

TEST_CASE("2:4 on tensor cores: the function equals the dense layer within its precision") {
  if (!kernels::has_sparse_tensor_cores()) return;
  Sequential model(Dense(70, 50, {.seed = 1}));
  Pruner(model, {.pattern = n_of_m(2, 4, RaggedRows::shorter_run)}).prune_to(0.5);
  const Tensor weight = model.parameters()[0]->value.value(), images = random_images({9, 70});
  TwoFourTensorFunction<kernels::half> function(*TwoFourTensor<kernels::half>::encode(weight));
  Context context{.recording = false};
  const auto y = function.forward({images}, context).to_host();
  CHECK(test::difference(y, evaluated(model, images), 1e-2, 1e-2) == "");
  CHECK_THROWS_AS(function.backward(images, context), InvalidArgument);
}

Sequential strided_cnn(const Pattern& pattern) {
  Sequential model(Conv2d(6, 20, {.stride = 2, .padding = 1, .seed = 1}), Relu(), Conv2d(20, 70, {.seed = 2}),
                   Flatten());
  Pruner(model, {.pattern = pattern, .scope = Scope::local}).prune_to(0.5);
  return model;
}

TEST_CASE("plan: a convolution in 2:4 along its channels competes in the precision that the model was run in") {
  Sequential model = strided_cnn(n_of_m_channels(2, 4, RaggedRows::shorter_run));
  const Shape shape{3, 6, 11, 9};
  const auto alone = compile(model, shape, only({two_four()})).steps()[0].candidates;
  REQUIRE(alone.size() == 1);
  CHECK(alone[0].note == "its convolution runs on tensor cores alone");
  if (!kernels::has_tensor_cores_for(Precision::bf16)) return;
  const bool runs = !simt::kEmulated && kernels::has_sparse_tensor_cores();
  for (const Precision precision : {Precision::fp16, Precision::bf16, Precision::tf32}) {
    const PrecisionScope scope(precision);
    const Plan plan = compile(model, shape, only({two_four()}));
    for (const std::size_t step : {0, 1}) {
      const auto& candidates = plan.steps()[step].candidates;
      REQUIRE(candidates.size() == 2);
      CHECK(candidates[1].library == "handwritten " + std::string(espalier::to_string(precision)));
      CHECK(candidates[1].us.has_value() == (runs && precision != Precision::tf32));
      if (runs && precision == Precision::tf32) CHECK(candidates[1].note.ends_with("2 of 4, of tf32 1 of 2"));
    }
    const Tensor images = random_images(shape);
    CHECK(test::difference(plan(images).to_host(), evaluated(model, images), 2e-2, 2e-2) == "");
  }
}

TEST_CASE("plan: in reduced precision, too, a convolution takes in the pool behind it, whatever computes it") {
  if (!kernels::has_tensor_cores_for(Precision::fp16)) return;
  Sequential model(Conv2d(8, 20, {.padding = 1, .seed = 1}), Relu(), MaxPool2d(2), Conv2d(20, 8, {.seed = 2}),
                   MaxPool2d(2), Relu());
  Pruner(model, {.pattern = n_of_m_channels(2, 4), .scope = Scope::local}).prune_to(0.5);
  const Shape shape{3, 8, 13, 12};
  const Tensor images = random_images(shape);
  const PrecisionScope scope(Precision::fp16);
  for (const Candidate& candidate : {dense(), csr(), two_four()}) {
    const Plan plan = compile(model, shape, only({candidate}));
    REQUIRE(plan.steps().size() == 2);
    for (const PlanStep& step : plan.steps()) CHECK(step.takes_in == "max_pool2d");
    const bool runs = !simt::kEmulated && kernels::has_sparse_tensor_cores();
    if (std::holds_alternative<TwoFourCandidate>(candidate)) CHECK((plan.steps()[0].format == "2:4") == runs);
    CHECK(test::difference(plan(images).to_host(), evaluated(model, images), 1e-2, 1e-2) == "");
  }
}

TEST_CASE("plan: a convolution that 2:4 does not take says why") {
  if (simt::kEmulated || !kernels::has_sparse_tensor_cores()) return;
  const PrecisionScope scope(Precision::fp16);
  Sequential flat = strided_cnn(n_of_m(2, 4, RaggedRows::shorter_run));
  CHECK(
      compile(flat, {3, 6, 11, 9}, only({two_four()})).steps()[1].candidates[1].note.starts_with("groups of channels"));
  Sequential grouped(Conv2d(8, 8, {.groups = 2, .seed = 1}));
  CHECK(compile(grouped, {3, 8, 5, 5}, only({two_four()})).steps()[0].candidates[1].note ==
        "two_four_conv2d: groups of 4 channels and 4 filters; it takes multiples of 8 and 64");
}

template <class T>
std::string difference_of_convolution(const Pattern& pattern, double tolerance) {
  Sequential model(Conv2d(20, 30, {.stride = 2, .padding = 1, .seed = 2}), Relu());
  Pruner(model, {.pattern = pattern}).prune_to(0.5);
  const Tensor weight = model.parameters()[0]->value.value(), images = random_images({3, 20, 11, 9});
  const kernels::Conv2dShape shape{3, 20, 11, 9, 30, 3, 3, 2, 1};
  TwoFourTensorConv2dFunction<T> function(*TwoFourTensor<T>::encode(channels_last(weight, shape)), shape);
  CHECK(function.bytes() > function.weight.bytes());
  function.bias = model.parameters()[1]->value.value();
  function.activation = kernels::Activation::relu;
  Context context{.recording = false};
  CHECK_THROWS_AS(function.forward({random_images({3, 20, 9, 11})}, context), InvalidArgument);
  return test::difference(function.forward({images}, context).to_host(), evaluated(model, images), tolerance,
                          tolerance);
}

TEST_CASE("2:4 on tensor cores: the convolution equals the layer within its precision") {
  if (!kernels::has_sparse_tensor_cores()) return;
  CHECK(difference_of_convolution<kernels::half>(n_of_m_channels(2, 4), 1e-2) == "");
  CHECK(difference_of_convolution<kernels::bfloat16>(n_of_m_channels(2, 4), 3e-2) == "");
  CHECK(difference_of_convolution<float>(n_of_m_channels(1, 2), 1e-2) == "");
}

TEST_CASE("v:n:m on tensor cores: the function equals the dense layer within its precision") {
  Sequential model(Dense(70, 90, {.seed = 1}));
  Pruner(model, {.pattern = v_n_m(64, 2, 8)}).prune_to(0.75);
  const Tensor weight = model.parameters()[0]->value.value(), images = random_images({9, 70});
  const auto encoded = VnmTensor<kernels::half>::encode(weight, 64, 8);
  REQUIRE(encoded.weight);
  CHECK(encoded.weight->bytes() > 0);
  CHECK(test::difference(encoded.weight->decode().to_host(), weight.to_host(), 1e-3, 1e-6) == "");
  CHECK(VnmTensor<kernels::half>::encode(weight, 128, 8).violations.windows > 0);
  if (!kernels::has_sparse_tensor_cores()) return;
  Context context{.recording = false};
  const auto y = VnmTensorFunction<kernels::half>(*encoded.weight).forward({images}, context).to_host();
  CHECK(test::difference(y, evaluated(model, images), 1e-2, 1e-2) == "");
}

TEST_CASE("plan: v:n:m is refused without tensor cores or in another precision, and says what it takes") {
  Sequential model(Dense(24, 8, {.seed = 1}));
  const Plan plan = compile(model, {2, 24}, only({vnm(64, 8)}));
  CHECK(plan.steps()[0].candidates[0].note == "it runs on tensor cores alone");
  CHECK_THROWS_WITH_AS(compile(model, {2, 24}, only({vnm(32, 8)})),
                       "vnm: groups of 32 rows, windows of 8 columns; needs a multiple of 64, and 4 to 32",
                       InvalidArgument);
  const PrecisionScope scope(Precision::fp16);
  const auto candidates = compile(model, {2, 24}, only({vnm(64, 8)})).steps()[0].candidates;
  REQUIRE(candidates.size() == 2);
  CHECK(!candidates[1].us.has_value());
}

TEST_CASE("block csr on tensor cores: the function equals the dense layer within its precision") {
  if (!kernels::has_tensor_cores_for(Precision::bf16)) return;
  Sequential model(Dense(70, 50, {.seed = 1}));
  Pruner(model, {.pattern = block(16, 16)}).prune_to(0.6);
  const Tensor weight = model.parameters()[0]->value.value(), images = random_images({9, 70});
  BlockTensorFunction<kernels::half> function(BlockTensor<kernels::half>::encode(weight, 16));
  Context context{.recording = false};
  CHECK(test::difference(function.forward({images}, context).to_host(), evaluated(model, images), 1e-2, 1e-2) == "");
  CHECK(test::difference(function.weight.decode().to_host(), weight.to_host(), 1e-3, 1e-6) == "");
}

template <class T>
std::string difference_of_blocks(kernels::ConvPool pool, double tolerance) {
  const Conv2dOptions options{.stride = 2, .padding = 1, .seed = 2};
  Sequential model = pool == kernels::ConvPool::halves ? Sequential(Conv2d(40, 70, options), Relu(), MaxPool2d(2))
                                                       : Sequential(Conv2d(40, 70, options), Relu());
  Pruner(model, {.pattern = block_channels(16, 16)}).prune_to(0.6);
  const Tensor weight = model.parameters()[0]->value.value(), images = random_images({3, 40, 11, 9});
  const kernels::Conv2dShape shape{3, 40, 11, 9, 70, 3, 3, 2, 1};
  const Tensor arranged = tap_blocks<T>(weight, shape);
  const auto blocks = FragmentBlocks<T>::encode(arranged);
  CHECK(test::difference(blocks.decode().to_host(), arranged.to_host(), 1e-2, 1e-6) == "");
  CHECK(blocks.view().fragments < blocks.view().all_fragments() / 2);
  BlockTensorConv2dFunction<T> function(blocks, shape, pool);
  CHECK(function.bytes() > function.weight.bytes());
  function.bias = model.parameters()[1]->value.value();
  function.activation = kernels::Activation::relu;
  Context context{.recording = false};
  CHECK_THROWS_AS(function.forward({random_images({3, 40, 9, 11})}, context), InvalidArgument);
  return test::difference(function.forward({images}, context).to_host(), evaluated(model, images), tolerance,
                          tolerance);
}

TEST_CASE("block csr on tensor cores: the convolution equals the layer within its precision") {
  if (!kernels::has_tensor_cores_for(Precision::bf16)) return;
  for (const auto pool : {kernels::ConvPool::none, kernels::ConvPool::halves}) {
    CHECK(difference_of_blocks<kernels::half>(pool, 1e-2) == "");
    CHECK(difference_of_blocks<kernels::bfloat16>(pool, 3e-2) == "");
    CHECK(difference_of_blocks<float>(pool, 1e-2) == "");
  }
}

TEST_CASE("plan: a convolution in blocks along its channels competes in the precision that the model was run in") {
  Sequential model(Conv2d(32, 64, {.padding = 1, .seed = 1}), Relu(), Conv2d(64, 64, {.seed = 2}), Flatten());
  Pruner(model, {.pattern = block_channels(16, 16), .ignore = {"conv2d_2.weight"}}).prune_to(0.75);
  const Shape shape{2, 32, 7, 6};
  CHECK(compile(model, shape, only({block_csr(16, 16)})).steps()[0].candidates.size() == 1);
  if (!kernels::has_tensor_cores_for(Precision::bf16)) return;
  const Tensor images = random_images(shape);
  for (const Precision precision : {Precision::fp16, Precision::bf16, Precision::tf32}) {
    const PrecisionScope scope(precision);
    const Plan plan = compile(model, shape, only({block_csr(16, 16)}));
    const auto& candidates = plan.steps()[0].candidates;
    REQUIRE(candidates.size() == 2);
    CHECK(candidates[1].format == "block csr 16x16");
    CHECK(candidates[1].library == "handwritten " + std::string(espalier::to_string(precision)));
    CHECK(candidates[1].us.has_value() == !simt::kEmulated);
    if (simt::kEmulated) {
      CHECK(candidates[1].note == "there are no tensor cores here");
    } else {
      CHECK(candidates[1].weight_bytes > 0);
      CHECK(plan.steps()[1].candidates[1].note.starts_with("none of the"));
    }
    CHECK(test::difference(plan(images).to_host(), evaluated(model, images), 2e-2, 2e-2) == "");
  }
}

TEST_CASE("plan: the dense product of a reduced precision rounds its weight once, when it is compiled") {
  if (!kernels::has_tensor_cores_for(Precision::fp16)) return;
  const PrecisionScope scope(Precision::fp16);
  Sequential model(Conv2d(3, 8, {.padding = 1}), Relu(), MaxPool2d(2), Flatten(), Dense(72, 10));
  const Tensor x = random_images({5, 3, 6, 6});
  const Plan plan = compile(model, x.shape(), only({dense()}));
  CHECK(plan(x).to_host() == evaluated(model, x));
  const int channels = simt::kEmulated ? 3 : 8;  // tensor cores read them in eights
  for (const auto& [step, weights] : {std::pair(0, 8 * channels * 9), std::pair(2, 72 * 10)}) {
    const MeasuredImplementation& one = plan.steps()[std::size_t(step)].candidates[0];
    CHECK(one.library == "handwritten fp16");
    CHECK(one.weight_bytes == 2 * weights);
    if (step == 2 || !simt::kEmulated) CHECK(one.launches == 2);  // x is rounded, the product
  }
}

TEST_CASE("plan: a convolution on tensor cores pools by itself, and is the layer in any precision") {
  for (const Precision precision : test::reduced_precisions()) {
    const PrecisionScope scope(precision);
    Sequential model(Conv2d(3, 8, {.padding = 1, .seed = 1}), Relu(), MaxPool2d(2),
                     Conv2d(8, 12, {.kernel = 2, .groups = 2, .seed = 2}));
    const Tensor x = random_images({3, 3, 9, 6});
    const Tensor weight = model.parameters()[0]->value.value();
    const kernels::Conv2dShape shape{3, 3, 9, 6, 8, 3, 3, 1, 1};
    REQUIRE(ArrangedConv2dFunction::takes(shape, precision));
    ArrangedConv2dFunction function(weight, shape, precision, kernels::ConvPool::halves);
    function.activation = kernels::Activation::relu, function.bias = model.parameters()[1]->value.value();
    Context context{.recording = false};
    Sequential block(Conv2d(3, 8, {.padding = 1, .seed = 1}), Relu(), MaxPool2d(2));
    CHECK(test::difference(function.forward({x}, context).to_host(), evaluated(block, x), 1e-5, 1e-5) == "");
    const Plan plan = compile(model, x.shape(), only({dense()}));
    CHECK(plan(x).to_host() == evaluated(model, x));
    if (!simt::kEmulated) CHECK(plan.node_count() == 5);  // twice rounded and multiplied; odd groups in a pass more
  }
}

template <class Make>
void check_linked(Sequential& model, const Make& make) {
  Context context{.recording = false};
  const auto before = make(*model.parameters()[0], kernels::Conv2dShape{3, 8, 9, 6, 16, 3, 3, 1, 1});
  const auto after = make(*model.parameters()[2], kernels::Conv2dShape{3, 16, 9, 6, 12, 3, 3});
  before->activation = kernels::Activation::relu;
  const auto both = linked(*before, *after);
  REQUIRE(both);
  const Tensor x = random_images({3, 8, 9, 6});
  CHECK(both->after->forward({both->before->forward({x}, context)}, context).to_host() ==
        after->forward({before->forward({x}, context)}, context).to_host());
  before->activation = kernels::Activation::tanh;
  CHECK(!linked(*before, *after));
  CHECK(!linked(MaxPool2dFunction(PoolWindow(2, 2, 0)), *after));
}

TEST_CASE("convolutions on tensor cores with an operand between them give the bits of both alone") {
  Sequential model(Conv2d(8, 16, {.padding = 1, .seed = 1}), Relu(), Conv2d(16, 12, {.seed = 2}));
  for (const Precision precision : test::reduced_precisions()) {
    check_linked(model, [&](const Parameter& weight, const kernels::Conv2dShape& shape) {
      return std::make_shared<ArrangedConv2dFunction>(weight.value.value(), shape, precision, kernels::ConvPool::none);
    });
  }
  if (!kernels::has_sparse_tensor_cores()) return;
  Pruner(model, {.pattern = n_of_m_channels(2, 4)}).prune_to(0.5);
  check_linked(model, [](const Parameter& weight, const kernels::Conv2dShape& shape) {
    const Tensor matrix = channels_last(weight.value.value(), shape);
    return std::make_shared<TwoFourTensorConv2dFunction<kernels::half>>(*TwoFourTensor<kernels::half>::encode(matrix),
                                                                        shape);
  });
}

TEST_CASE("plan: convolutions of a reduced precision leave each other their images as operands") {
  if (simt::kEmulated) return;
  const PrecisionScope scope(Precision::fp16);
  Sequential model(Conv2d(3, 8, {.padding = 1, .seed = 1}), Relu(), MaxPool2d(2), Conv2d(8, 16, {.seed = 2}), Relu(),
                   Conv2d(16, 5, {.kernel = 1, .seed = 3}), Flatten());
  const Tensor x = random_images({3, 3, 12, 10});
  const Plan plan = compile(model, x.shape(), only({dense()}));
  CHECK(plan(x).to_host() == evaluated(model, x));
  CHECK(plan.node_count() == 4);  // x is rounded, three products
  int launches = 0;
  for (const PlanStep& step : plan.steps()) launches += step.launches;
  CHECK(launches == 4);
}

}  // namespace
}  // namespace espalier::pruning
