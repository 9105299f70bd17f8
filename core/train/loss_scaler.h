// Dynamic loss scaling for fp16 training (kernels/loss_scale.h): scale, counters and verdict stay in device memory, so
// a captured training step skips a bad update by itself. Part of an Optimizer; see Optimizer::scale_loss().
#pragma once
#include <cstdint>
#include <vector>

#include "core/train/device_state.h"
#include "core/train/parameter.h"
#include "kernels/loss_scale.h"

namespace espalier {

struct LossScaleOptions {
  float initial = 65536.0f;  // powers of two, all three: scaling then rounds nothing
  float growth = 2.0f, backoff = 0.5f;
  std::int32_t growth_interval = 2000;  // good steps before the scale grows
};

// What a checkpoint must keep, and a report may tell.
struct LossScaleStatus {
  float scale = 0;
  std::int32_t good_steps = 0;  // since the scale last changed
  std::int64_t skipped_steps = 0;
  bool valid() const;  // a scale above 0, counts of at least 0
  bool operator==(const LossScaleStatus&) const = default;
};

class LossScaler {
 public:
  explicit LossScaler(const LossScaleOptions& options);
  const Tensor& scale() const { return scale_; }  // [1]; what backward() starts from
  // Looks for overflow in the gradients there are. Only enqueues.
  void look_at(const std::vector<Parameter*>& parameters) const;
  kernels::LossScale on_device() const;

  LossScaleStatus status() const;  // waits for current_stream()
  void set_status(const LossScaleStatus& status);

 private:
  Tensor scale_;
  DeviceState<kernels::LossScaleState> state_;
};

}  // namespace espalier
