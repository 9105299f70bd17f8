// What all optimisers share. Learning rate, step count and moments live in device memory and step() only enqueues, so a
// captured training step stays valid while the rate changes. Each update re-imposes the parameter's mask in the same
// pass: a weight that was pruned stays 0.0f, and so does its momentum.
#pragma once
#include <cstdint>
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
  virtual std::vector<Buffer*> state() = 0;  // what a checkpoint must keep beside the learning rate

 protected:
  // Throws InvalidArgument when a parameter is there twice or two have the same name.
  Optimizer(std::vector<Parameter*> parameters, float learning_rate);
  float* device_learning_rate() const { return device_learning_rate_.data<float>(); }
  // One tensor of zeros for each parameter, called "role/conv2d_1.weight".
  std::vector<Buffer> zeros_for_each(const std::string& role) const;

 private:
  std::vector<Parameter*> parameters_;
  float learning_rate_;
  Tensor device_learning_rate_;  // f32 [1]
};

}  // namespace espalier
