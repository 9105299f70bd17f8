#include "core/train/metrics.h"

#include <bit>
#include <numeric>

#include "core/device/error.h"
#include "core/device/memory.h"
#include "core/device/stream.h"
#include "kernels/confusion.h"
#include "kernels/require.h"

namespace espalier {
namespace {

double ratio(double part, double whole) { return whole > 0 ? part / whole : 0.0; }

Metrics metrics_of(std::int64_t classes, std::span<const std::int64_t> sums) {
  Metrics metrics{0, classes, std::vector<std::int64_t>(sums.begin() + 1, sums.end())};
  metrics.loss = ratio(std::bit_cast<double>(sums.front()), double(metrics.samples()));
  return metrics;
}

template <class Value>
double mean_over(std::int64_t classes, Value value) {
  double sum = 0;
  for (std::int64_t k = 0; k < classes; ++k) sum += value(k);
  return ratio(sum, double(classes));
}

}  // namespace

std::int64_t Metrics::count(std::int64_t label, std::int64_t predicted) const {
  return confusion.at(std::size_t(label * classes + predicted));
}

std::int64_t Metrics::samples() const { return std::accumulate(confusion.begin(), confusion.end(), std::int64_t(0)); }

std::int64_t Metrics::correct() const {
  std::int64_t correct = 0;
  for (std::int64_t k = 0; k < classes; ++k) correct += count(k, k);
  return correct;
}

double Metrics::accuracy() const { return ratio(double(correct()), double(samples())); }

double Metrics::precision(std::int64_t label) const {
  std::int64_t predicted = 0;
  for (std::int64_t k = 0; k < classes; ++k) predicted += count(k, label);
  return ratio(double(count(label, label)), double(predicted));
}

double Metrics::recall(std::int64_t label) const {
  std::int64_t members = 0;
  for (std::int64_t k = 0; k < classes; ++k) members += count(label, k);
  return ratio(double(count(label, label)), double(members));
}

double Metrics::f1(std::int64_t label) const {
  const double p = precision(label), r = recall(label);
  return ratio(2 * p * r, p + r);
}

double Metrics::macro_precision() const {
  return mean_over(classes, [this](std::int64_t k) { return precision(k); });
}
double Metrics::macro_recall() const {
  return mean_over(classes, [this](std::int64_t k) { return recall(k); });
}
double Metrics::macro_f1() const {
  return mean_over(classes, [this](std::int64_t k) { return f1(k); });
}

MetricsAccumulator::MetricsAccumulator(std::int64_t classes)
    : classes_(classes), sums_(Tensor::zeros({1 + classes * classes}, DType::i64)) {}

void MetricsAccumulator::add(const Tensor& logits, const Tensor& labels, const Tensor& mean_loss) {
  require(logits.shape() == Shape{labels.size(), classes_}, "metrics: logits of shape ", logits.shape().to_string(),
          " for ", labels.size(), " labels of ", classes_, " classes");
  kernels::accumulate_confusion(labels.size(), classes_, logits.data<float>(), labels.data<std::int32_t>(),
                                mean_loss.data<float>(), confusion(), loss_sum(), current_stream());
}

void MetricsAccumulator::require_classes(std::int64_t classes) const {
  require(classes == classes_, "metrics: scores for ", classes, " classes, counted are ", classes_);
}

Metrics MetricsAccumulator::read() const { return metrics_of(classes_, sums_.to_host_as<std::int64_t>()); }

void MetricsAccumulator::reset() {
  check(cudaMemsetAsync(sums_.raw(), 0, std::size_t(sums_.bytes()), current_stream()));
}

MetricsSnapshot::MetricsSnapshot(std::int64_t classes)
    : classes_(classes), memory_(pinned_memory(std::size_t(1 + classes * classes) * sizeof(std::int64_t))) {}

void MetricsSnapshot::take(const MetricsAccumulator& sums) {
  sums.require_classes(classes_);
  check(cudaMemcpyAsync(memory_.get(), sums.sums_.raw(), std::size_t(sums.sums_.bytes()), cudaMemcpyDeviceToHost,
                        current_stream()));
  taken_.record();
}

Metrics MetricsSnapshot::read() const {
  if (!taken_.reached()) taken_.wait();
  return metrics_of(classes_, std::span(static_cast<const std::int64_t*>(memory_.get()), 1 + classes_ * classes_));
}

}  // namespace espalier
