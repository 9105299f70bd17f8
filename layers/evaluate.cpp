#include "layers/evaluate.h"

#include <algorithm>

#include "kernels/require.h"
#include "layers/loss.h"

namespace espalier {
namespace {

class InferenceMode {
 public:
  explicit InferenceMode(Module& model) : model_(model), was_training_(model.training()) { model.set_training(false); }
  ~InferenceMode() { model_.set_training(was_training_); }
  InferenceMode(const InferenceMode&) = delete;
  InferenceMode& operator=(const InferenceMode&) = delete;

 private:
  Module& model_;
  bool was_training_;
  NoGradient no_gradient_;
};

Metrics evaluate_samples(Module& model, const Samples& samples, const EvaluateOptions& options) {
  require(options.batch >= 1, "evaluate: a batch of ", options.batch, " samples");
  const InferenceMode mode(model);
  MetricsAccumulator metrics(samples.dataset().classes());
  for (std::int64_t first = 0; first < samples.size(); first += options.batch) {
    const Batch batch = samples.batch(first, std::min(options.batch, samples.size() - first));
    softmax_cross_entropy(model(batch.images), batch.labels, {.metrics = &metrics});
  }
  return metrics.read();
}

}  // namespace

Metrics evaluate(Module& model, const TestSplit& split, const EvaluateOptions& options) {
  return evaluate_samples(model, split.samples(), options);
}

Metrics evaluate(Module& model, const ValidationSplit& split, const EvaluateOptions& options) {
  return evaluate_samples(model, split.samples(), options);
}

}  // namespace espalier
