#include "layers/gradient_check.h"

#include <fmt/format.h>
#include <cmath>
#include <random>

namespace espalier {
namespace {

std::vector<float> random_values(std::int64_t count, unsigned seed, const GradientCheckOptions& options) {
  std::mt19937 engine(seed);
  std::vector<float> values(std::size_t(count), 0.0f);
  for (float& value : values) {
    value = options.low + (options.high - options.low) * float(engine() >> 8) * 0x1p-24f;
    if (std::abs(value) < options.avoid_kinks) value = std::copysign(options.avoid_kinks, value) + value;
  }
  return values;
}

class Checker {
 public:
  Checker(Module& model, const Tensor& input, const GradientCheckOptions& options)
      : model_(model), options_(options), x_(input.clone(), Gradient::required) {
    const Variable y = model_(x_);
    output_weights_ = random_values(y.value().size(), options.seed + 1, options);
  }

  GradientReport run() {
    for (Parameter* parameter : model_.parameters()) parameter->value.clear_gradient();
    Variable y = model_(x_);
    y.backward(Tensor::from(y.shape(), std::span<const float>(output_weights_)));
    check_all(x_, "input");
    for (Parameter* parameter : model_.parameters()) check_all(parameter->value, parameter->name);
    return report_;
  }

 private:
  // sum(weights * model(x)) in double: the only rounding left is the model's own.
  double objective() {
    const NoGradient inference;
    const std::vector<float> y = model_(x_).value().to_host();
    double sum = 0;
    for (std::size_t i = 0; i < y.size(); ++i) sum += double(output_weights_[i]) * double(y[i]);
    return sum;
  }

  // (f(-2h) - 8 f(-h) + 8 f(h) - f(2h)) / 12h; h as it really is after rounding of value + step.
  double difference(const Tensor& tensor, std::vector<float>& values, std::size_t i) {
    const float original = values[i];
    const auto at = [&](float offset) {
      values[i] = original + offset;
      tensor.upload(std::as_bytes(std::span<const float>(values)));
      return objective();
    };
    const float h = options_.step;
    const double slope = (at(-2 * h) - 8 * at(-h) + 8 * at(h) - at(2 * h)) / (12.0 * double(h));
    values[i] = original;
    tensor.upload(std::as_bytes(std::span<const float>(values)));
    return slope;
  }

  void check_all(const Variable& variable, const std::string& name) {
    std::vector<float> values = variable.value().to_host();
    const bool has = variable.has_gradient();
    const std::vector<float> received = has ? variable.gradient().to_host() : std::vector<float>(values.size(), 0.0f);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double expected = difference(variable.value(), values, i);
      const double error = std::abs(double(received[i]) - expected) / std::max(1.0, std::abs(expected));
      if (error <= report_.worst_error) continue;
      report_.worst_error = error;
      report_.worst = fmt::format("{}[{}] of {}: backward {:.6g}, differences {:.6g}", name, i,
                                  variable.shape().to_string(), received[i], expected);
      if (!(error <= options_.tolerance)) report_.passed = false;
    }
    for (const float value : received) report_.passed = report_.passed && std::isfinite(value);
  }

  Module& model_;
  GradientCheckOptions options_;
  Variable x_;
  std::vector<float> output_weights_;
  GradientReport report_;
};

}  // namespace

GradientReport gradient_check(Module& model, const Tensor& input, const GradientCheckOptions& options) {
  return Checker(model, input, options).run();
}

GradientReport gradient_check(Module& model, Shape input, const GradientCheckOptions& options) {
  const std::vector<float> values = random_values(input.size(), options.seed, options);
  return gradient_check(model, Tensor::from(input, std::span<const float>(values)), options);
}

GradientReport gradient_check(Module&& model, Shape input, const GradientCheckOptions& options) {
  return gradient_check(model, std::move(input), options);
}

}  // namespace espalier
