// Where the time of a run goes: every range of this thread (epoch, step, layer forward and backward, update, kernel
// launch, replay of a graph) with its begin and duration, as a trace that ui.perfetto.dev and chrome://tracing open.
//   Timeline timeline("espalier train");   // listens from here on
//   ... run ...
//   write_file_atomically("trace.json", timeline.to_json());
// In the cpu build the host's clock times everything, on one track. On a GPU there are two: the host's launches, and
// the device's work between a pair of CUDA events per range, which costs a few microseconds each: read shares off it,
// and exact times off Nsight. Inside a capture nothing runs, so nothing is recorded there; a graph shows as its
// replays, and the eager run that precedes its capture shows every layer and kernel.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "kernels/simt/range.h"

namespace espalier {

struct TimelineOptions {
  std::int64_t max_ranges = 1'000'000;  // later ones are counted only; a million make a file of about 150 MB
};

class Timeline final : simt::RangeListener {
 public:
  explicit Timeline(std::string process, const TimelineOptions& options = {});
  ~Timeline();
  Timeline(const Timeline&) = delete;
  Timeline& operator=(const Timeline&) = delete;

  std::string to_json();  // the ranges that have ended; waits for the device

 private:
  struct State;
  void begin(const char* category, simt::RangeText text) override;
  void end() noexcept override;
  std::unique_ptr<State> state_;
  simt::RangeListener* previous_;
};

}  // namespace espalier
