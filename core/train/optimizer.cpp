#include "core/train/optimizer.h"

#include <cmath>
#include <set>

#include "core/device/stream.h"
#include "kernels/elementwise.h"
#include "kernels/require.h"

namespace espalier {
namespace {

void require_rate(float rate) {
  require(std::isfinite(rate) && rate >= 0, "optimizer: the learning rate is ", rate, "; it must be at least 0");
}

}  // namespace

Optimizer::Optimizer(std::vector<Parameter*> parameters, float learning_rate)
    : parameters_(std::move(parameters)), learning_rate_(learning_rate) {
  require_rate(learning_rate);
  require(!parameters_.empty(), "an optimizer was given no parameters; does the model have any?");
  std::set<std::string> names;
  for (const Parameter* parameter : parameters_) {
    require(names.insert(parameter->name).second, "optimizer: two parameters are called ", parameter->name,
            "; each may be given once, and names tell their states apart in a checkpoint");
  }
}

void Optimizer::zero_gradients() {
  for (Parameter* parameter : parameters_) parameter->value.clear_gradient();
}

float Optimizer::learning_rate() const { return listed_rates_.defined() ? read_rates().learning_rate : learning_rate_; }

void Optimizer::set_learning_rate(float rate) {
  require_rate(rate);
  learning_rate_ = rate;
  if (!listed_rates_.defined()) return kernels::fill(1, rate, device_learning_rate(), current_stream());
  write_rates({rate});
  listed_rates_ = Tensor();
}

void Optimizer::set_learning_rates(std::span<const float> rates) {
  require(!rates.empty(), "optimizer: a list of no learning rates");
  for (const float rate : rates) require_rate(rate);
  const std::int64_t count = std::int64_t(rates.size()), begin = steps();
  learning_rate_ = learning_rate();
  listed_rates_ = Tensor::from({count}, rates);
  write_rates({learning_rate_, {listed_rates_.data<float>(), begin, begin + count}});
}

std::vector<Buffer> Optimizer::zeros_for_each(const std::string& role) const {
  std::vector<Buffer> buffers;
  for (const Parameter* parameter : parameters_) {
    buffers.push_back({role + "/" + parameter->name, Tensor::zeros(parameter->value.shape())});
  }
  return buffers;
}

}  // namespace espalier
