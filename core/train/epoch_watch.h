// Looks at an epoch while it runs, without holding it up: a look enqueues a copy of the sums, and what has arrived is
// reported, at the next look or at the end. On a GPU the host is usually some hundred steps ahead of the device.
#pragma once
#include <chrono>
#include <deque>
#include <memory>
#include <stdexcept>
#include <vector>

#include "core/train/metrics.h"
#include "core/train/training_log.h"

namespace espalier {

struct DivergedError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class EpochWatch {
 public:
  using Snapshots = std::vector<std::unique_ptr<MetricsSnapshot>>;

  // `begun` says epoch, batches and the step and rate that it starts with. Zeroes the sums. `blanks` are snapshots that
  // the epoch before has left, and get back those of this one: pinned memory is not to be had without a wait.
  EpochWatch(MetricsAccumulator& sums, TrainingLog& log, const TrainingMoment& begun, Snapshots& blanks);

  // `place` says batch, step and learning rate. Throws DivergedError when a loss that has arrived is no number.
  void look(const TrainingMoment& place);              // never waits
  TrainingMoment finish(const TrainingMoment& place);  // waits; the whole epoch
  const Metrics& metrics() const { return read_; }     // after finish(): of the whole epoch

 private:
  struct Look {
    TrainingMoment place;
    std::unique_ptr<MetricsSnapshot> snapshot;
  };
  void enqueue(const TrainingMoment& place);
  void report_next();
  void report_arrived();
  std::unique_ptr<MetricsSnapshot> blank();

  MetricsAccumulator& sums_;
  TrainingLog& log_;
  TrainingMoment last_;  // reported
  Metrics read_;         // with it
  Event begun_;
  std::chrono::steady_clock::time_point begun_at_;
  std::deque<Look> looks_;                     // not yet reported, in order
  std::unique_ptr<MetricsSnapshot> reported_;  // the last one: the next window begins there
  Snapshots& blanks_;
};

}  // namespace espalier
