// Learning rates as pure functions of the step (the number of updates already made), so that a resumed run needs
// nothing but its step to go on with the right rate.
#pragma once
#include <cstdint>
#include <functional>

namespace espalier::learning_rate {

using Schedule = std::function<float(std::int64_t step)>;

Schedule constant(float rate);

struct StepDecay {
  float rate = 0.1f, factor = 0.1f;  // multiplied by factor ...
  std::int64_t every = 1000;         // ... after each so many steps
};
Schedule step_decay(const StepDecay& options);

// Half a cosine from peak to floor (Loshchilov and Hutter 2016, arXiv 1608.03983) after a linear warm-up.
struct Cosine {
  float peak = 0.1f, floor = 0.0f;
  std::int64_t steps = 1000, warmup = 0;  // steps of the whole; later steps stay at the floor
};
Schedule cosine(const Cosine& options);

// Up to a high peak and down below the start, both along half a cosine (Smith and Topin 2017, arXiv 1708.07120).
struct OneCycle {
  float peak = 0.1f;
  std::int64_t steps = 1000;
  float rise = 0.3f;               // fraction of the steps on the way up
  float start_divisor = 25.0f;     // begins at peak / start_divisor
  float end_divisor = 250'000.0f;  // ends at peak / end_divisor
};
Schedule one_cycle(const OneCycle& options);

// A warm restart (Loshchilov and Hutter 2016): `first` for so many steps, then `second` from its own beginning.
Schedule restarted(Schedule first, std::int64_t steps, Schedule second);

}  // namespace espalier::learning_rate
