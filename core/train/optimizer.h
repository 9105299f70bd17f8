// What all optimisers share. Learning rate, step count and moments live in device memory and step() only enqueues, so a
// captured training step stays valid while the rate changes. Each update re-imposes the parameter's mask in the same
// pass: a weight that was pruned stays 0.0f, and so does its momentum.
#pragma once
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

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
  virtual void step() = 0;                    // parameters without a gradient stay as they are

  float learning_rate() const;  // of the last update, or the one set since; waits while a list holds
  // Holds for every later step, a captured one too.
  void set_learning_rate(float rate);
  // The coming steps take these rates one after the other, without the host; later ones keep the last. Waits.
  void set_learning_rates(std::span<const float> rates);

  const std::vector<Parameter*>& parameters() const { return parameters_; }
  // What a checkpoint must keep beside the learning rate.
  virtual std::vector<Buffer*> state() = 0;
  virtual std::int64_t steps() const = 0;  // updates made; waits for current_stream()
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
  // One tensor of zeros for each parameter, called "role/conv2d_1.weight".
  std::vector<Buffer> zeros_for_each(const std::string& role) const;

 private:
  std::vector<Parameter*> parameters_;
  float learning_rate_;
  Tensor listed_rates_;  // what set_learning_rates() was given; undefined: nothing
};

// The struct that an update kernel reads, in device memory.
template <class State>
class DeviceState {
 public:
  explicit DeviceState(const State& state) : bytes_(Tensor::from_bytes({sizeof(State)}, DType::u8, bytes_of(state))) {}
  State* get() const { return static_cast<State*>(bytes_.raw()); }  // for launchers
  State read() const {
    State state;
    const std::vector<std::byte> bytes = bytes_.to_host_bytes();
    std::memcpy(&state, bytes.data(), sizeof(State));
    return state;
  }
  void write(const State& state) const { bytes_.upload(bytes_of(state)); }

 private:
  static std::span<const std::byte> bytes_of(const State& state) { return std::as_bytes(std::span(&state, 1)); }
  Tensor bytes_;
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

 private:
  DeviceState<State> device_;
};

}  // namespace espalier
