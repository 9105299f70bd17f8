// Workspace for a launcher, for as long as the launches that use it are being issued: the pool reuses it in stream
// order. It brings the pool's counters, so that a sum over blocks needs no second launch.
#pragma once
#include "core/device/memory.h"
#include "core/tensor/tensor.h"
#include "kernels/shapes.h"

namespace espalier {

class Scratch {
 public:
  explicit Scratch(std::int64_t floats) : floats_(floats) {
    if (floats > 0) memory_ = Tensor::empty({floats});
  }
  kernels::Workspace memory() const { return {static_cast<float*>(memory_.raw()), floats_}; }  // without counters
  kernels::Workspace get() const { return {static_cast<float*>(memory_.raw()), floats_, current_pool().arrivals()}; }

 private:
  std::int64_t floats_;
  Tensor memory_;
};

}  // namespace espalier
