#include "pruning/random_weights.h"

#include <cfloat>
#include <cmath>

#include "core/device/precision.h"
#include "core/device/stream.h"
#include "kernels/elementwise.h"
#include "kernels/fnv.h"
#include "kernels/keep.h"
#include "kernels/mask.h"
#include "kernels/random.h"
#include "kernels/require.h"
#include "pruning/choice.h"
#include "pruning/random_functions.h"

namespace espalier::pruning {
namespace {

constexpr float kFirstLogVariance = -10.0f;   // Molchanov et al., section 5.1: nearly no noise
constexpr float kFirstLogAlpha = 2.1972246f;  // log(0.9 / 0.1): nearly open

void set(const Tensor& tensor, float value) {
  kernels::fill(tensor.size(), value, tensor.data<float>(), current_stream());
}

kernels::PlanesShape groups_of(const Parameter& parameter, GateGroups groups) {
  const Shape& shape = parameter.value.shape();
  if (groups == GateGroups::elements) return {.channels = parameter.size()};
  const std::int64_t batch = groups == GateGroups::filters ? 1 : shape[0];
  const std::int64_t channels = groups == GateGroups::filters ? shape[0] : shape[1];
  return {.batch = batch, .channels = channels, .area = parameter.size() / (batch * channels)};
}

Mask at_least(float threshold, const Tensor& score) {
  Mask mask{Tensor::empty(score.shape(), DType::u8)};
  kernels::keep_at_least(score.size(), threshold, score.data<float>(), mask.keep.data<std::uint8_t>(),
                         current_stream());
  return mask;
}

}  // namespace

// Of one weight. A captured step may hold it longer than all else here.
class RandomWeights::Distribution : public RandomWeight {
 public:
  Distribution(const Parameter& of, const char* role, const Shape& shape, float first, const Tensor& draws,
               const Tensor& strength, std::uint64_t seed)
      : learned(std::string("preparation/") + role + "/" + of.name, Tensor::full(shape, first)),
        parameter_(of),
        first_(first),
        draws_(draws),
        strength_(strength),
        seed_(seed ^ kernels::fnv1a(of.name)) {}
  void start_anew() const { set(learned.value.value(), first_); }
  virtual Tensor signal() const = 0;
  virtual float least_signal() const = 0;  // what has less is superfluous

  Parameter learned;

 protected:
  const Tensor& weight() const { return parameter_.value.value(); }
  Tensor keep() const { return parameter_.mask() ? parameter_.mask()->keep : Tensor(); }
  void require_unscaled_loss() const {
    require(
        current_precision() != Precision::fp16, learned.name,
        ": the penalty on random weights enters with their gradients, which fp16 scales; train in another precision");
  }
  const Parameter& parameter_;
  float first_;
  Tensor draws_, strength_;
  std::uint64_t seed_;
};

class RandomWeights::Variational final : public RandomWeights::Distribution {
 public:
  Variational(const Parameter& of, const RandomWeightOptions& options, const Tensor& draws, const Tensor& strength)
      : Distribution(of, "log_variance", of.value.shape(), kFirstLogVariance, draws, strength, options.seed) {}
  DrawnWeight draw(const Variable& of) const override {
    require_unscaled_loss();
    const auto variance = std::make_shared<WeightVarianceFunction>(keep(), strength_);
    return {of, apply(variance, {of, learned.value}), seed_, draws_};
  }
  Variable expected(const Variable& of) const override { return of; }
  Tensor signal() const override {
    Tensor score = Tensor::like(weight());
    kernels::signal_to_noise(variational(weight(), learned.value.value(), keep()), score.data<float>(),
                             current_stream());
    return score;
  }
  float least_signal() const override { return 0.22313016f; }  // exp(-3 / 2): log alpha is -2 log(signal)
};

class RandomWeights::HardConcrete final : public RandomWeights::Distribution {
 public:
  HardConcrete(const Parameter& of, const RandomWeightOptions& options, const Tensor& draws, const Tensor& strength)
      : Distribution(of, "log_alpha", {groups_of(of, options.groups).channels}, kFirstLogAlpha, draws, strength,
                     options.seed),
        groups_(groups_of(of, options.groups)) {}
  DrawnWeight draw(const Variable& of) const override {
    require_unscaled_loss();
    return {apply(std::make_shared<HardConcreteFunction>(groups_, seed_, draws_, strength_), {of, learned.value})};
  }
  Variable expected(const Variable& of) const override {
    return apply(std::make_shared<GatedFunction>(groups_, gates()), {of});
  }
  Tensor signal() const override { return gated(groups_, gates(), weight()); }
  float least_signal() const override { return FLT_MIN; }

 private:
  Tensor gates() const {
    Tensor gates = Tensor::like(learned.value.value());
    kernels::expected_gates(gates.size(), {}, learned.value.value().data<float>(), gates.data<float>(),
                            current_stream());
    return gates;
  }
  kernels::PlanesShape groups_;
};

RandomWeights::RandomWeights(std::vector<Parameter*> parameters, const RandomWeightOptions& options,
                             const Tensor& strength)
    : parameters_(std::move(parameters)),
      options_(options),
      draws_{"preparation/draws", Tensor::zeros({1}, DType::i64)} {
  require(std::isfinite(options.rate) && options.rate > 0.0f, "random weights: their distributions learn at the rate ",
          options.rate, "; it must be above 0");
  std::vector<Parameter*> learned;
  for (const Parameter* one : parameters_) {
    require(one->can_be_random, one->name, ": its layer cannot compute with a random weight; name it in `ignore`");
    if (options.kind == Randomness::variational) {
      distributions_.push_back(std::make_shared<Variational>(*one, options, draws_.value, strength));
    } else {
      distributions_.push_back(std::make_shared<HardConcrete>(*one, options, draws_.value, strength));
    }
    Parameter& of = distributions_.back()->learned;
    learned.push_back(&of);
    values_.push_back({of.name, of.value.value()});
  }
  adam_ = std::make_unique<Adam>(learned, AdamOptions{.learning_rate = options.rate});
}

void RandomWeights::begin() {
  for (const auto& each : distributions_) each->start_anew();
  for (Buffer* moment : adam_->state()) set(moment->value, 0.0f);
  resume(0);
}

void RandomWeights::resume(int updates) {
  adam_->set_steps(updates);
  adam_->zero_gradients();
  for (std::size_t i = 0; i < parameters_.size(); ++i) parameters_[i]->set_random(distributions_[i]);
}

void RandomWeights::detach() {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (parameters_[i]->random() == distributions_[i]) parameters_[i]->set_random(nullptr);
  }
}

void RandomWeights::update() {
  adam_->step();
  adam_->zero_gradients();
  kernels::increment_counter(draws_.value.data<std::int64_t>(), current_stream());
}

std::vector<Tensor> RandomWeights::signals() const {
  std::vector<Tensor> signals;
  for (const auto& each : distributions_) signals.push_back(each->signal());
  return signals;
}

double RandomWeights::superfluous() const {
  std::vector<Mask> masks;
  for (const auto& each : distributions_) {
    const Tensor signal = each->signal();
    kernels::magnitude_scores(signal.size(), signal.data<float>(), signal.data<float>(), current_stream());
    masks.push_back(at_least(each->least_signal(), signal));
  }
  std::int64_t kept = 0, all = 0;
  for (const std::int64_t count : count_kept(masks)) kept += count;
  for (const Parameter* one : parameters_) all += one->size();
  return 1.0 - double(kept) / double(all);
}

void RandomWeights::settle() {
  detach();
  const NoGradient inference;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor& weight = parameters_[i]->value.value();
    const Tensor expected = distributions_[i]->expected(parameters_[i]->value).value();
    if (expected.raw() != weight.raw()) weight.copy_from(expected);
  }
}

std::vector<Buffer*> RandomWeights::state() {
  std::vector<Buffer*> state{&draws_};
  for (Buffer& value : values_) state.push_back(&value);
  for (Buffer* moment : adam_->state()) state.push_back(moment);
  return state;
}

}  // namespace espalier::pruning
