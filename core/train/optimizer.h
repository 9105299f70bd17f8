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

namespace espalier {

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  virtual std::string_view kind() const = 0;  // "sgd"
  void zero_gradients();                      // the next backward() starts from nothing
  virtual void step() = 0;                    // parameters without a gradient stay as they are

  float learning_rate() const { return learning_rate_; }
  void set_learning_rate(float rate);  // enqueues; holds for every later step, a captured one too

  const std::vector<Parameter*>& parameters() const { return parameters_; }
  // What a checkpoint must keep beside the learning rate.
  virtual std::vector<Buffer*> state() = 0;
  virtual std::int64_t steps() const = 0;  // updates made; waits for current_stream()
  virtual void set_steps(std::int64_t steps) = 0;

 protected:
  // Throws InvalidArgument when a parameter is there twice or two have the same name.
  Optimizer(std::vector<Parameter*> parameters, float learning_rate);
  virtual float* device_learning_rate() const = 0;
  // One tensor of zeros for each parameter, called "role/conv2d_1.weight".
  std::vector<Buffer> zeros_for_each(const std::string& role) const;

 private:
  std::vector<Parameter*> parameters_;
  float learning_rate_;
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

}  // namespace espalier
