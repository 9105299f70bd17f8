#include "layers/classifier.h"

#include <algorithm>

#include "kernels/require.h"
#include "layers/loss.h"

namespace espalier {
namespace {

Tensor opinion_of(Module& teacher, const Samples& samples, std::int64_t batch) {
  const Dataset& all = samples.dataset();
  std::vector<float> table(std::size_t(all.size() * all.classes()));
  if (teacher.training()) teacher.set_training(false);
  const NoGradient inference;
  for (std::int64_t first = 0; first < samples.size(); first += batch) {
    const Batch some = samples.batch(first, std::min(batch, samples.size() - first));
    const Tensor logits = teacher(some.images).value();
    require(logits.shape() == Shape{some.size(), all.classes()}, "opinions: a teacher's logits ",
            logits.shape().to_string(), " for ", some.size(), " images of ", all.classes(), " classes");
    const std::vector<float> values = logits.to_host();
    for (std::int64_t n = 0; n < some.size(); ++n) {
      const std::int64_t sample = samples.indices()[std::size_t(first + n)];
      std::copy_n(values.begin() + n * all.classes(), all.classes(), table.begin() + sample * all.classes());
    }
  }
  return Tensor::from({all.size(), all.classes()}, table);
}

Variable taught(Module& model, const ClassifierOptions& options, const Batch& batch, MetricsAccumulator& metrics) {
  const DistillationOptions share{.temperature = options.temperature, .weight = options.weight, .metrics = &metrics};
  if (!options.opinions.empty()) {
    DistillationOptions of_tables = share;
    of_tables.rows = batch.samples;
    return distillation_loss(model(batch.images), batch.labels, options.opinions, of_tables);
  }
  Tensors logits;
  for (Module* teacher : options.teachers) {
    const NoGradient inference;
    if (teacher->training()) teacher->set_training(false);
    logits.push_back((*teacher)(batch.images).value());
  }
  return distillation_loss(model(batch.images), batch.labels, logits, share);
}

}  // namespace

Tensors opinions(const std::vector<Module*>& teachers, const TrainSplit& split, std::int64_t batch) {
  require(batch >= 1, "opinions: a batch of ", batch, " samples");
  Tensors tables;
  for (Module* const teacher : teachers) tables.push_back(opinion_of(*teacher, split.samples(), batch));
  return tables;
}

Trainable classifier(Module& model, const ClassifierOptions& options) {
  const bool has_teachers = !options.teachers.empty() || !options.opinions.empty();
  require(options.teachers.empty() || options.opinions.empty(),
          "classifier: teachers and their opinions; one of the two says it all");
  require(!has_teachers || options.label_smoothing == 0.0f,
          "classifier: teachers and smoothed labels; a teacher's opinion is smooth already: set label_smoothing to 0");
  const auto forward = [&model, options, has_teachers](const Batch& batch, MetricsAccumulator& metrics) {
    if (!model.training()) model.set_training(true);
    if (has_teachers) return taught(model, options, batch, metrics);
    return softmax_cross_entropy(model(batch.images), batch.labels,
                                 {.label_smoothing = options.label_smoothing, .metrics = &metrics});
  };
  return {forward, model.parameters(), model.buffers()};
}

}  // namespace espalier
