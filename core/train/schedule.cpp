#include "core/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/require.h"

namespace espalier::learning_rate {
namespace {

// From `from` to `to` along half a cosine while `progress` goes from 0 to 1.
double glide(double from, double to, double progress) {
  return to + (from - to) * 0.5 * (1 + std::cos(std::numbers::pi * std::clamp(progress, 0.0, 1.0)));
}

}  // namespace

Schedule constant(float rate) {
  return [=](std::int64_t) { return rate; };
}

Schedule step_decay(const StepDecay& options) {
  require(options.every >= 1, "step decay: every ", options.every, " steps; it must be at least 1");
  return [=](std::int64_t step) {
    return float(double(options.rate) * std::pow(double(options.factor), double(step / options.every)));
  };
}

Schedule cosine(const Cosine& options) {
  require(options.steps > options.warmup && options.warmup >= 0, "cosine: ", options.steps, " steps with a warm-up of ",
          options.warmup, "; the warm-up must be the shorter one");
  return [=](std::int64_t step) {
    if (step < options.warmup) return float(double(options.peak) * double(step + 1) / double(options.warmup));
    const double progress = double(step - options.warmup) / double(options.steps - options.warmup);
    return float(glide(options.peak, options.floor, progress));
  };
}

Schedule one_cycle(const OneCycle& options) {
  require(options.steps >= 2 && options.rise > 0 && options.rise < 1, "one-cycle: ", options.steps,
          " steps, rising for ", options.rise, " of them; take at least 2 steps and a fraction inside (0, 1)");
  return [=](std::int64_t step) {
    const double top = double(options.rise) * double(options.steps), now = double(step), peak = double(options.peak);
    if (now < top) return float(glide(peak / double(options.start_divisor), peak, now / top));
    return float(glide(peak, peak / double(options.end_divisor), (now - top) / (double(options.steps - 1) - top)));
  };
}

Schedule restarted(Schedule first, std::int64_t steps, Schedule second) {
  require(steps >= 1, "restart: after ", steps, " steps; it must be at least 1");
  return [=](std::int64_t step) { return step < steps ? first(step) : second(step - steps); };
}

}  // namespace espalier::learning_rate
