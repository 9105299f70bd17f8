#include "core/autograd/variable.h"

#include <doctest/doctest.h>

#include "core/autograd/trace.h"
#include "core/device/stream.h"
#include "kernels/elementwise.h"
#include "kernels/require.h"

namespace espalier {
namespace {

// y = a + b, the smallest Function with two inputs.
struct SumFunction final : Function {
  std::string_view name() const override { return "sum"; }
  Tensor forward(const Tensors& in, Context&) const override {
    Tensor y = Tensor::like(in[0]);
    kernels::add(y.size(), in[0].data<float>(), in[1].data<float>(), y.data<float>(), current_stream());
    return y;
  }
  Tensors backward(const Tensor& dy, const Context&) const override { return {dy, dy}; }
};

struct BrokenFunction final : Function {
  std::string_view name() const override { return "broken"; }
  Tensor forward(const Tensors& in, Context&) const override { return in[0].clone(); }
  Tensors backward(const Tensor&, const Context&) const override { return {Tensor::zeros({1})}; }
};

// Its slope of 3 at every point, or nothing where its reader has applied that.
struct SteepFunction final : Function {
  std::string_view name() const override { return "steep"; }
  Tensor forward(const Tensors& in, Context&) const override { return in[0].clone(); }
  Tensors backward(const Tensor& dy, const Context& context) const override {
    return {Tensor::full(dy.shape(), (context.slope_applied ? 1.0f : 3.0f) * dy.to_host().front())};
  }
  std::optional<float> output_slope() const override { return 3.0f; }
};

struct ReaderFunction final : Function {
  std::string_view name() const override { return "reader"; }
  Tensor forward(const Tensors& in, Context&) const override { return in[0].clone(); }
  Tensors backward(const Tensor& dy, const Context& context) const override {
    const float slope = context.input_slope(0).value_or(1.0f);
    applied = context.input_slope(0).has_value();
    return {Tensor::full(dy.shape(), slope * dy.to_host().front())};
  }
  bool applies_input_slopes() const override { return true; }
  mutable bool applied = false;
};

Variable sum(const Variable& a, const Variable& b) { return apply(std::make_shared<SumFunction>(), {a, b}); }
Variable leaf(float value) { return {Tensor::full({2}, value), Gradient::required}; }

std::vector<float> twice(float value) { return {value, value}; }

TEST_CASE("backward: contributions of several uses add up") {
  const Variable x = leaf(1);
  Variable y = sum(sum(x, x), sum(x, leaf(2)));
  CHECK(y.value().to_host() == twice(5));
  y.backward(Tensor::full({2}, 1.0f));
  CHECK(x.gradient().to_host() == twice(3));
}

TEST_CASE("backward: gradients of two losses accumulate until cleared") {
  Variable x = leaf(1);
  sum(x, x).backward(Tensor::full({2}, 1.0f));
  sum(x, x).backward(Tensor::full({2}, 10.0f));
  CHECK(x.gradient().to_host() == twice(22));
  x.clear_gradient();
  CHECK(!x.has_gradient());
  CHECK_THROWS_AS(x.gradient(), InvalidArgument);
}

TEST_CASE("backward: a given gradient tensor is never changed") {
  const Tensor seed = Tensor::full({2}, 1.0f);
  const Variable x = leaf(1);
  sum(sum(x, x), x).backward(seed);
  CHECK(seed.to_host() == twice(1));
}

TEST_CASE("backward: constants get no gradient, a second walk is refused") {
  const Variable x = leaf(1), constant(Tensor::full({2}, 3.0f));
  Variable y = sum(x, constant);
  y.backward(Tensor::full({2}, 1.0f));
  CHECK(!constant.has_gradient());
  CHECK_THROWS_AS(y.backward(Tensor::full({2}, 1.0f)), InvalidArgument);
  Variable free = sum(constant, constant);
  CHECK_THROWS_AS(free.backward(Tensor::full({2}, 1.0f)), InvalidArgument);
  CHECK_THROWS_AS(sum(x, x).backward(), InvalidArgument);
}

TEST_CASE("backward: a function whose gradient has the wrong shape is named") {
  Variable y = apply(std::make_shared<BrokenFunction>(), {leaf(1)});
  CHECK_THROWS_WITH_AS(y.backward(Tensor::full({2}, 1.0f)),
                       "broken: the gradient of input 0 has shape [1], the input [2]", InvalidArgument);
}

TEST_CASE("backward: a chain of 20,000 steps neither recurses nor leaks its tape") {
  const int length = simt::kEmulated ? 20000 : 300;
  const Variable x = leaf(1);
  Variable y = x;
  for (int i = 0; i < length; ++i) y = sum(y, Variable(Tensor::full({2}, 0.0f)));
  y.backward(Tensor::full({2}, 1.0f));
  CHECK(x.gradient().to_host() == twice(1));
}

TEST_CASE("backward: the only reader of an activation applies its slope, one of several readers does not") {
  const Variable x = leaf(1);
  const auto reader = std::make_shared<ReaderFunction>();
  apply(reader, {apply(std::make_shared<SteepFunction>(), {x})}).backward(Tensor::full({2}, 5.0f));
  CHECK(reader->applied);
  CHECK(x.gradient().to_host() == twice(15));

  const Variable z = leaf(1), steep = apply(std::make_shared<SteepFunction>(), {z});
  sum(apply(reader, {steep}), steep).backward(Tensor::full({2}, 5.0f));
  CHECK(!reader->applied);
  CHECK(z.gradient().to_host() == twice(30));
}

TEST_CASE("backward: a result of one element begins with the gradient 1") {
  const Variable x(Tensor::full({1}, 4.0f), Gradient::required);
  sum(x, x).backward();
  CHECK(x.gradient().item() == 2.0f);
  Variable alone(Tensor::full({1}, 4.0f), Gradient::required);
  alone.backward();
  CHECK(alone.gradient().item() == 1.0f);
}

TEST_CASE("no gradient: inference records nothing") {
  const Variable x = leaf(1);
  const NoGradient inference;
  CHECK(!sum(x, x).requires_gradient());
}

TEST_CASE("trace: lists the steps from input to output in execution order") {
  const Variable weight = leaf(10);
  const Trace traced =
      trace([&](const Variable& x) { return sum(sum(x, weight), sum(x, x)); }, Tensor::full({2}, 1.0f));
  REQUIRE(traced.steps.size() == 3);
  CHECK(traced.steps.back().output == traced.output);
  CHECK(traced.values[std::size_t(traced.output)].tensor.to_host() == twice(13));
  CHECK(traced.values[std::size_t(traced.input)].producer == -1);
  int constants = 0;
  for (const auto& value : traced.values) constants += value.constant;
  CHECK(constants == 1);
  for (std::size_t i = 0; i < traced.steps.size(); ++i) {
    for (const int input : traced.steps[i].inputs) CHECK(traced.values[std::size_t(input)].producer < int(i));
  }
  CHECK_THROWS_AS(trace([&](const Variable&) { return sum(weight, weight); }, Tensor::full({2}, 1.0f)),
                  InvalidArgument);
}

}  // namespace
}  // namespace espalier
