#include "pruning/preparation.h"

#include <cmath>

#include "core/device/stream.h"
#include "kernels/elementwise.h"
#include "kernels/proximal.h"
#include "kernels/require.h"

namespace espalier::pruning {
namespace {

// Once per pruning: what is kept as what falls, or the other way round.
Tensor opposite(const Tensor& flags) {
  std::vector<std::uint8_t> host = flags.to_host_as<std::uint8_t>();
  for (std::uint8_t& flag : host) flag = flag == 0;
  return Tensor::from(flags.shape(), host);
}

void set(const Tensor& tensor, float value) {
  kernels::fill(tensor.size(), value, tensor.data<float>(), current_stream());
}

std::unique_ptr<RandomWeights> random_weights(const std::vector<Parameter*>& parameters,
                                              const PreparationOptions& options, const Tensor& strength) {
  if (!is_random(options.kind)) return nullptr;
  require(options.images >= 1, "preparation: ", options.images, " training images; there must be one at least");
  const bool variational = options.kind == PreparationKind::variational;
  return std::make_unique<RandomWeights>(
      parameters,
      RandomWeightOptions{.kind = variational ? Randomness::variational : Randomness::hard_concrete,
                          .groups = options.groups,
                          .rate = options.rate,
                          .seed = options.seed},
      strength);
}

}  // namespace

Preparation::Preparation(std::vector<Parameter*> parameters, const PreparationOptions& options)
    : parameters_(std::move(parameters)), options_(options), strength_{"preparation/strength", Tensor::zeros({1})} {
  require(std::isfinite(options.strength) && options.strength > 0.0f, "preparation: the strength is ", options.strength,
          "; it must be above 0");
  require(options.every >= 1 && options.steps >= options.every, "preparation: ", options.steps,
          " steps with a round every ", options.every, "; there must be a round at least");
  random_ = random_weights(parameters_, options_, strength_.value);
  if (random_) return;
  for (const Parameter* one : parameters_) {
    const Shape& shape = one->value.shape();
    if (options.kind == PreparationKind::growing) {
      falling_.push_back({"preparation/falling/" + one->name, Tensor::zeros(shape, DType::u8)});
    } else {
      duals_.push_back({"preparation/dual/" + one->name, Tensor::zeros(shape)});
      targets_.push_back({"preparation/target/" + one->name, Tensor::zeros(shape)});
    }
  }
}

void Preparation::begin(const Projection& projection) {
  require(!active(), "preparation: a pruning is due ", options_.steps - age_,
          " updates before the one before it is done; let the schedule prune less often");
  age_ = 0;
  if (random_) random_->begin();
  for (const Buffer& dual : duals_) set(dual.value, 0.0f);
  if (options_.kind == PreparationKind::growing) {
    std::vector<Tensor> weights;
    for (const Parameter* one : parameters_) weights.push_back(one->value.value());
    const std::vector<Mask> kept = projection(weights);
    for (std::size_t i = 0; i < kept.size(); ++i) falling_[i].value.copy_from(opposite(kept[i].keep));
  }
  round(projection);
}

bool Preparation::step(const Projection& projection) {
  ++age_;
  if (age_ >= options_.steps) return true;
  if (age_ % options_.every == 0) round(projection);
  return false;
}

void Preparation::round(const Projection& projection) {
  const int rounds = std::max(1, options_.steps / options_.every), number = age_ / options_.every + 1;
  const double part = double(number) / rounds;
  if (random_)
    return set(strength_.value, options_.strength * float(std::min(1.0, 2 * part) / double(options_.images)));
  set(strength_.value, options_.strength * float(std::min(1.0, part)));
  if (options_.kind == PreparationKind::growing) return;
  std::vector<Tensor> sums;
  for (std::size_t i = 0; i < duals_.size(); ++i) {
    const Tensor& dual = duals_[i].value;
    kernels::add_in_place(dual.size(), parameters_[i]->value.value().data<float>(), dual.data<float>(),
                          current_stream());
    sums.push_back(dual);
  }
  const std::vector<Mask> near = projection(sums);
  for (std::size_t i = 0; i < duals_.size(); ++i) {
    const Tensor& dual = duals_[i].value;
    kernels::split_projection(dual.size(), near[i].keep.data<std::uint8_t>(), dual.data<float>(),
                              targets_[i].value.data<float>(), current_stream());
  }
}

std::vector<Mask> Preparation::masks(const Projection& projection) {
  age_ = -1;
  set(strength_.value, 0.0f);
  if (random_) {
    const std::vector<Tensor> signals = random_->signals();
    random_->settle();
    return projection(signals);
  }
  std::vector<Mask> masks;
  for (const Buffer& falling : falling_) masks.push_back({opposite(falling.value)});
  if (!masks.empty()) return masks;
  std::vector<Tensor> weights;
  for (const Parameter* one : parameters_) weights.push_back(one->value.value());
  return projection(weights);
}

double Preparation::superfluous() const { return random_ ? random_->superfluous() : 0.0; }

void Preparation::set_age(int age) {
  age_ = age;
  if (!random_) return;
  if (active()) return random_->resume(age);
  random_->detach();
}

void Preparation::apply(const float* rate) const {
  if (random_) {
    if (active()) random_->update();
    return;
  }
  const float* const strength = strength_.value.data<float>();
  if (options_.kind == PreparationKind::growing) {
    std::vector<kernels::ChosenWeights> tensors;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const Parameter& one = *parameters_[i];
      tensors.push_back({one.value.value().data<float>(), falling_[i].value.data<std::uint8_t>(), one.size()});
    }
    return kernels::proximal_l2(tensors, rate, strength, current_stream());
  }
  std::vector<kernels::PulledWeights> tensors;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& one = *parameters_[i];
    tensors.push_back({one.value.value().data<float>(), targets_[i].value.data<float>(), one.size()});
  }
  kernels::proximal_pull(tensors, rate, strength, current_stream());
}

std::vector<Buffer*> Preparation::state() {
  std::vector<Buffer*> state{&strength_};
  for (std::vector<Buffer>* buffers : {&falling_, &duals_, &targets_}) {
    for (Buffer& buffer : *buffers) state.push_back(&buffer);
  }
  if (!random_) return state;
  for (Buffer* buffer : random_->state()) state.push_back(buffer);
  return state;
}

}  // namespace espalier::pruning
