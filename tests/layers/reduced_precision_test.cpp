// Dense and Conv2d in tf32, bf16 and fp16: the fp32 layer on rounded operands, forward and backward, within the bounds
// of the format; and fp32 left as it is.
#include "layers/reduced_precision.h"

#include <doctest/doctest.h>

#include <cmath>

#include "kernels/require.h"
#include "layers/layers.h"
#include "tests/support/close.h"
#include "tests/support/narrow.h"

namespace espalier {
namespace {

float rounded(float x, Precision precision) {
  if (precision == Precision::tf32) return kernels::round_to_tf32(x);
  if (precision == Precision::bf16) return kernels::to_float(kernels::from_float<kernels::bfloat16>(x));
  return kernels::to_float(kernels::from_float<kernels::half>(x));
}

Tensor rounded(const Tensor& x, Precision precision) {
  std::vector<float> values = x.to_host();
  for (float& value : values) value = rounded(value, precision);
  return Tensor::from(x.shape(), values);
}

Tensor random_tensor(const Shape& shape, unsigned seed) {
  return Tensor::from(shape, test::random_floats(std::size_t(shape.size()), seed));
}

// y, dx, dw, db of a layer with these values. The gradient arrives outside the scope, as a user's backward() may.
std::vector<std::vector<float>> run(ProductLayer& layer, Precision precision, const Tensor& x, const Tensor& weight,
                                    const Tensor& dy) {
  layer.weight().value.set_value(weight);
  layer.weight().value.clear_gradient();
  if (layer.bias()) layer.bias()->value.clear_gradient();
  Variable input(x, Gradient::required), y;
  {
    const PrecisionScope scope(precision);
    y = layer(input);
  }
  y.backward(dy);
  std::vector<std::vector<float>> results{y.value().to_host(), input.gradient().to_host(),
                                          layer.weight().value.gradient().to_host()};
  if (layer.bias()) results.push_back(layer.bias()->value.gradient().to_host());
  return results;
}

void check(ProductLayer& layer, const Shape& input) {
  const Tensor x = random_tensor(input, 1), weight = random_tensor(layer.weight().value.shape(), 2);
  const Tensor dy = random_tensor(layer(Variable(x)).shape(), 3);
  const auto full = run(layer, Precision::fp32, x, weight, dy);
  for (const Precision precision : test::reduced_precisions()) {
    INFO(to_string(precision), " ", input.to_string(), " by ", weight.shape().to_string());
    const auto results = run(layer, precision, x, weight, dy);
    const auto expected =
        run(layer, Precision::fp32, rounded(x, precision), rounded(weight, precision), rounded(dy, precision));
    const double bar = precision == Precision::tf32 ? 1e-3 : 1e-2;
    for (std::size_t i = 0; i < full.size(); ++i) {
      INFO("result ", i);
      // Both sum exact products in fp32, in their own order; a dense layer's db sums dy before it is rounded.
      if (i < 3) CHECK(test::norm_error(results[i], expected[i]) < 1e-5);
      CHECK(test::norm_error(results[i], full[i]) < bar);
    }
    CHECK(results[0] != full[0]);
  }
}

TEST_CASE("reduced precision: a dense layer is the fp32 one on rounded operands, within the format's bounds") {
  for (const auto& [batch, in, out] : {std::array{1, 1, 1}, {2, 3, 5}, {13, 31, 17}, {16, 64, 32}, {33, 65, 127}}) {
    Dense dense(in, out, {.seed = 5});
    check(dense, {batch, in});
  }
  Dense without_bias(7, 3, {.bias = false});
  check(without_bias, {4, 7});
}

TEST_CASE("reduced precision: a convolution is the fp32 one on rounded operands, for every option") {
  Conv2d plain(1, 3, {.seed = 1}), wide(8, 16, {.padding = 1, .seed = 2}), odd(3, 7, {.kernel = 5, .bias = false});
  check(plain, {2, 1, 7, 9});
  check(wide, {3, 8, 6, 6});
  check(odd, {2, 3, 11, 8});
  Conv2d strided(4, 6, {.stride = 2, .padding = 1, .groups = 2}),
      depthwise(5, 5, {.padding = 2, .dilation = 2, .groups = 5});
  check(strided, {2, 4, 9, 9});
  check(depthwise, {1, 5, 8, 7});
}

TEST_CASE("reduced precision: 16-bit operands are kept in 16 bits for backward, fp32 ones are not copied") {
  const Tensor x = random_tensor({4, 6}, 1), weight = random_tensor({5, 6}, 2);
  Context context;
  DenseFunction().forward({x, weight}, context);
  CHECK(context.saved[0].raw() == x.raw());
  CHECK(context.saved[1].raw() == weight.raw());
  for (const Precision precision : test::reduced_precisions()) {
    DenseFunction function;
    function.precision = precision;
    function.forward({x, weight}, context);
    for (const int i : {0, 1})
      CHECK(context.saved[i].bytes() == (precision == Precision::tf32 ? 4 : 2) * context.saved[i].size());
  }
}

TEST_CASE("reduced precision: an activation in the epilogue does what it does behind the layer") {
  for (const Precision precision : test::reduced_precisions()) {
    const PrecisionScope scope(precision);
    for (const auto activation : {kernels::Activation::relu, kernels::Activation::tanh}) {
      INFO(to_string(precision), ", ", to_string(activation));
      Conv2d conv(2, 3, {.padding = 1, .seed = 3});
      const Tensor x = random_tensor({2, 2, 5, 5}, 1), dy = random_tensor({2, 3, 5, 5}, 2);
      Variable a(x, Gradient::required), b(x, Gradient::required);
      Variable fused = conv.with_activation(a, activation, 0.0f);
      Variable apart = apply(std::make_shared<ActivationFunction>(activation), {conv(b)});
      fused.backward(dy);
      apart.backward(dy);
      CHECK(test::difference(fused.value().to_host(), apart.value().to_host(), 1e-6, 1e-6) == "");
      CHECK(test::difference(a.gradient().to_host(), b.gradient().to_host(), 1e-5, 1e-5) == "");
    }
  }
}

TEST_CASE("reduced precision: values beyond fp16 become infinities, which the loss scale looks for") {
  if (!kernels::has_tensor_cores_for(Precision::fp16)) return;
  const PrecisionScope scope(Precision::fp16);
  Dense dense(2, 1, {.bias = false});
  dense.weight().value.set_value(Tensor::full({1, 2}, 1.0f));
  CHECK(std::isinf(dense(Variable(Tensor::full({1, 2}, 1e5f))).value().item()));
  CHECK(dense(Variable(Tensor::full({1, 2}, 60001.0f))).value().item() == 120000.0f);  // 60001 -> 60000; sums are fp32
}

TEST_CASE("reduced precision: the scope nests, and its end gives the precision before it back") {
  CHECK(current_precision() == Precision::fp32);
  for (const Precision precision : test::reduced_precisions()) {
    const PrecisionScope outer(precision);
    {
      const PrecisionScope inner(Precision::fp32);
      CHECK(DenseFunction().precision == Precision::fp32);
    }
    CHECK(DenseFunction().precision == precision);
  }
  CHECK(current_precision() == Precision::fp32);
}

TEST_CASE("reduced precision: operands of different formats are refused") {
  const Tensor x = random_tensor({3, 4}, 1);
  const Tensor a = operand(x, Precision::bf16), b = operand(x, Precision::fp16), y = Tensor::empty({3, 3});
  CHECK_THROWS_WITH_AS(reduced_gemm({3, 3, 4}, {a, kernels::Transpose::no}, {b, kernels::Transpose::yes}, y, {}),
                       doctest::Contains("round both to the same"), InvalidArgument);
}

}  // namespace
}  // namespace espalier
