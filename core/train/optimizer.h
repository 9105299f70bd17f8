// What all optimisers share. Learning rate, step count and moments live in device memory and step() only enqueues, so a
// captured training step stays valid while the rate changes. Each update re-imposes the parameter's mask in the same
// pass: a weight that was pruned stays 0.0f, and so does its momentum.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/train/device_state.h"
#include "core/train/loss_scaler.h"
#include "core/train/parameter.h"
#include "kernels/optimizer.h"

namespace espalier {

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  virtual std::string_view kind() const = 0;  // "sgd"
  void zero_gradients();                      // the next backward() starts from nothing
  // loss.backward(), of the scaled loss after scale_loss(): gradients are `scale` times too large until the update.
  void backward(Variable loss);
  virtual void step() = 0;  // parameters without a gradient stay as they are

  float learning_rate() const;  // of the last update, or the one set since; waits while a list holds
  const float* rate_on_device() const { return device_learning_rate(); }  // after step(): the one it took
  // Holds for every later step, a captured one too.
  void set_learning_rate(float rate);
  // The coming steps take these rates one after the other, without the host; later ones keep the last. Waits.
  void set_learning_rates(std::span<const float> rates);

  // For products in fp16. From now on a step whose gradients overflow changes nothing but the scale, and backward()
  // must be called here instead of on the loss. Once at most; waits.
  void scale_loss(const LossScaleOptions& options = {});
  const LossScaler* loss_scaler() const { return loss_scaler_ ? &*loss_scaler_ : nullptr; }
  void set_loss_scale(const LossScaleStatus& status);  // after scale_loss()

  const std::vector<Parameter*>& parameters() const { return parameters_; }
  // What a checkpoint must keep beside the learning rate.
  virtual std::vector<Buffer*> state() = 0;
  virtual std::int64_t steps() const = 0;  // updates made, without skipped ones; waits for current_stream()
  virtual void set_steps(std::int64_t steps) = 0;

 protected:
  // Throws InvalidArgument when a parameter is there twice or two have the same name.
  Optimizer(std::vector<Parameter*> parameters, float learning_rate);
  struct Rates {
    float learning_rate = 0;
    kernels::RateList list = {};
  };
  virtual Rates read_rates() const = 0;  // both wait for current_stream()
  virtual void write_rates(const Rates& rates) = 0;
  virtual float* device_learning_rate() const = 0;
  virtual void write_loss_scale(const kernels::LossScale& loss_scale) = 0;  // waits
  void look_for_overflow();  // once in each step(), before the update; nothing where no loss is scaled
  // What an update does to parameter i; nothing without a gradient. An update of kept weights passes over the moments
  // of pruned ones, so the first with a structure zeroes these, as an update of all weights does each time.
  struct Change {
    const float* gradient = nullptr;
    const std::uint32_t* keep = nullptr;
    const std::int32_t* places = nullptr;
    kernels::index_t count = 0;
  };
  std::optional<Change> change_of(std::size_t i, std::initializer_list<const Tensor*> moments);
  // One tensor of zeros for each parameter, called "role/conv2d_1.weight".
  std::vector<Buffer> zeros_for_each(const std::string& role) const;

 private:
  std::vector<Parameter*> parameters_;
  float learning_rate_;
  Tensor listed_rates_;  // what set_learning_rates() was given; undefined: nothing
  std::optional<LossScaler> loss_scaler_;
  bool backward_was_scaled_ = false;                              // since the last step
  std::vector<std::shared_ptr<const KeptWeights>> updated_kept_;  // of each parameter: the last structure met
};

// An optimizer whose update kernel counts steps and follows rates in a State of its own.
template <class State>
class DeviceOptimizer : public Optimizer {
 public:
  std::int64_t steps() const override { return device_.read().step; }
  void set_steps(std::int64_t steps) override {
    State state = device_.read();
    state.rates.begin += steps - state.step, state.rates.end += steps - state.step;
    state.step = steps;
    forget_derived(state);
    device_.write(state);
  }

 protected:
  DeviceOptimizer(std::vector<Parameter*> parameters, const State& state)
      : Optimizer(std::move(parameters), state.learning_rate), device_(state) {}
  State* device_state() const { return device_.get(); }
  virtual void forget_derived(State&) const {}  // what followed from the step that is now another

  Rates read_rates() const override {
    const State state = device_.read();
    return {state.learning_rate, state.rates};
  }
  void write_rates(const Rates& rates) override {
    State state = device_.read();
    state.learning_rate = rates.learning_rate;
    state.rates = rates.list;
    device_.write(state);
  }
  float* device_learning_rate() const override { return &device_.get()->learning_rate; }
  void write_loss_scale(const kernels::LossScale& loss_scale) override {
    State state = device_.read();
    state.loss_scale = loss_scale;
    device_.write(state);
  }

 private:
  DeviceState<State> device_;
};

}  // namespace espalier
