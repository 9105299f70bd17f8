// Loss and accuracy of a classifier, added up on the device and read once at the end: no step waits for the host.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/device/stream.h"
#include "core/tensor/tensor.h"

namespace espalier {

// What a classifier did on some samples.
struct Metrics {
  double loss = 0;  // mean
  std::int64_t classes = 0;
  std::vector<std::int64_t> confusion;  // [label, predicted]

  std::int64_t samples() const;
  std::int64_t correct() const;
  double accuracy() const;                     // 0 when there are no samples, as all ratios below
  double precision(std::int64_t label) const;  // of what was taken for the class, the part that is of it
  double recall(std::int64_t label) const;     // of the class, the part that was recognised
  double f1(std::int64_t label) const;
  double macro_precision() const;  // unweighted means over the classes
  double macro_recall() const;
  double macro_f1() const;

 private:
  std::int64_t count(std::int64_t label, std::int64_t predicted) const;
};

class MetricsAccumulator {
 public:
  explicit MetricsAccumulator(std::int64_t classes);
  // logits f32 [N, classes], labels i32 [N], the mean loss of the batch f32 [1]. Only enqueues; may be captured.
  void add(const Tensor& logits, const Tensor& labels, const Tensor& mean_loss);
  Metrics read() const;  // waits for current_stream()
  void reset();

  // For kernels that add to the sums themselves: f64 [1] sum of the samples' losses, i64 [classes, classes] counts.
  DevicePointer<double> loss_sum() const { return DevicePointer(static_cast<double*>(sums_.raw())); }
  DevicePointer<std::int64_t> confusion() const { return DevicePointer(static_cast<std::int64_t*>(sums_.raw()) + 1); }
  void require_classes(std::int64_t classes) const;  // throws InvalidArgument when these sums have others
  std::int64_t classes() const { return classes_; }

 private:
  friend class MetricsSnapshot;
  static_assert(sizeof(double) == sizeof(std::int64_t), "the loss and the counts lie in one array");
  std::int64_t classes_;
  Tensor sums_;  // i64 [1 + classes * classes]: the bits of the sum of losses, then the counts [label, predicted]
};

// The sums of a moment, on their way to the host. Nothing but read() waits.
class MetricsSnapshot {
 public:
  explicit MetricsSnapshot(std::int64_t classes);
  void take(const MetricsAccumulator& sums);  // enqueues
  bool arrived() const { return taken_.reached(); }
  Metrics read() const;
  const Event& moment() const { return taken_; }

 private:
  std::int64_t classes_;
  std::shared_ptr<void> memory_;
  Event taken_;
};

}  // namespace espalier
