#include "core/train/epoch_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace espalier {
namespace {

constexpr double kShortest = 1e-9;  // seconds: what is shorter than a clock can tell

// What happened between two readings of the same sums.
Metrics since(const Metrics& now, const Metrics& before) {
  Metrics window = now;
  for (std::size_t i = 0; i < before.confusion.size(); ++i) window.confusion[i] -= before.confusion[i];
  const double loss_sum = now.loss * double(now.samples()) - before.loss * double(before.samples());
  window.loss = window.samples() > 0 ? loss_sum / double(window.samples()) : 0.0;
  return window;
}

void require_finite(const Metrics& metrics, const TrainingMoment& before, const TrainingMoment& now) {
  if (std::isfinite(metrics.loss)) return;
  throw DivergedError(
      fmt::format("the loss stopped being a number between step {} (learning rate {}) and step {} (learning rate {}); "
                  "lower the learning rate or warm it up, and go on from the last checkpoint",
                  before.step, before.learning_rate, now.step, now.learning_rate));
}

// The place with what was seen there.
TrainingMoment seen(TrainingMoment place, const Metrics& window, double window_seconds, double seconds) {
  place.loss = window.loss, place.accuracy = window.accuracy();
  place.images_per_second = double(window.samples()) / std::max(window_seconds, kShortest);
  place.seconds = seconds;
  return place;
}

double seconds_between(const Event& begin, const Event& end) { return 1e-3 * double(elapsed_ms(begin, end)); }

}  // namespace

EpochWatch::EpochWatch(MetricsAccumulator& sums, TrainingLog& log, const TrainingMoment& begun, Snapshots& blanks)
    : sums_(sums), log_(log), last_(begun), begun_at_(std::chrono::steady_clock::now()), blanks_(blanks) {
  sums_.reset();
  begun_.record();
}

void EpochWatch::look(const TrainingMoment& place) {
  enqueue(place);
  report_arrived();
}

TrainingMoment EpochWatch::finish(const TrainingMoment& place) {
  enqueue(place);
  while (looks_.size() > 1) report_next();
  const TrainingMoment before = last_;
  read_ = looks_.front().snapshot->read();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_at_).count();
  const TrainingMoment whole = seen(place, read_, seconds, seconds);
  require_finite(read_, before, whole);
  blanks_.push_back(std::move(looks_.front().snapshot));
  if (reported_) blanks_.push_back(std::move(reported_));
  return whole;
}

void EpochWatch::enqueue(const TrainingMoment& place) {
  looks_.push_back({place, blank()});
  looks_.back().snapshot->take(sums_);
}

void EpochWatch::report_arrived() {
  while (!looks_.empty() && looks_.front().snapshot->arrived()) report_next();
}

void EpochWatch::report_next() {
  Look look = std::move(looks_.front());
  looks_.pop_front();
  const Metrics now = look.snapshot->read();
  const Metrics window = since(now, read_);
  const Event& reached = look.snapshot->moment();
  const double window_seconds = seconds_between(reported_ ? reported_->moment() : begun_, reached);
  const TrainingMoment moment = seen(look.place, window, window_seconds, seconds_between(begun_, reached));
  require_finite(window, last_, moment);
  log_.report(moment);
  read_ = now, last_ = moment;
  if (reported_) blanks_.push_back(std::move(reported_));
  reported_ = std::move(look.snapshot);
}

std::unique_ptr<MetricsSnapshot> EpochWatch::blank() {
  if (blanks_.empty()) return std::make_unique<MetricsSnapshot>(sums_.classes());
  std::unique_ptr<MetricsSnapshot> one = std::move(blanks_.back());
  blanks_.pop_back();
  return one;
}

}  // namespace espalier
