// One pass over calibration batches that gathers whatever criteria have asked for: gradients, their squares, curvature,
// activations. Criteria made from it say what they need; the pruner runs it before each scoring.
//   Calibration calibration(model, data.train, {.samples = 1024});
//   Pruner pruner(model, {.criterion = taylor(calibration), .calibration = &calibration});
// The model runs in inference mode (no dropout, running statistics), its gradients are put back, and the batches are
// always the same: scoring changes nothing and a resumed run scores alike.
#pragma once
#include <functional>
#include <map>
#include <string>

#include "core/data/split.h"
#include "layers/module.h"

namespace espalier::pruning {

enum class Statistic {
  gradient,            // mean over the batches of g: of the loss of all samples
  gradient_magnitude,  // mean of |g|
  gradient_square,     // mean of g^2: the diagonal of the empirical Fisher information, a batch being one sample
  inverse_fisher,      // block-wise, as kernels/inverse_fisher.h has it; 128 bytes per weight
  hessian_gradient,    // H g by central differences of the gradient along g; two more passes
  input_norm,          // of each input channel that a product reads: the norm over samples and pixels
  output_nonzeros,     // of each filter or neuron: the fraction of its activations that are not zero
};

struct CalibrationOptions {
  std::int64_t samples = 1024, batch = 64;  // the first so many training samples
  // What gradients are of; none: mean softmax cross-entropy.
  std::function<Variable(const Variable& output, const Batch& batch)> loss = {};
  float fisher_damping = 1e-4f;
};

struct CalibrationCost {
  std::int64_t samples = 0, forward_passes = 0, backward_passes = 0;  // of the last run
  std::int64_t bytes = 0;                                             // that the statistics hold
  double seconds = 0;
};

class Calibration {
 public:
  // The model must outlive it. Throws InvalidArgument where there are no samples.
  Calibration(Module& model, const TrainSplit& split, CalibrationOptions options = {});

  void ask(Statistic statistic);  // from the next run on
  void run();                     // with the weights as they are now
  // f32 of the weight's shape, save inverse_fisher [runs, 32, 32], input_norm [groups, channels / groups] and
  // output_nonzeros [rows]. Throws InvalidArgument where it was not gathered.
  const Tensor& of(Statistic statistic, const Parameter& parameter) const;
  const CalibrationCost& cost() const { return cost_; }

 private:
  using ByName = std::map<std::string, Tensor>;
  bool asked(Statistic statistic) const { return gathered_.contains(statistic); }
  void begin();
  // Calls visit() with the gradients of each batch in place.
  void for_each_gradient(const std::function<void()>& visit);
  void gather_gradients();
  void gather_hessian_gradient();
  void gather_activations();
  void add_activations(const Batch& batch);
  Tensors mean_gradients();

  Module& model_;
  TrainSplit split_;
  CalibrationOptions options_;
  std::vector<Parameter*> weights_;  // of two axes or more
  std::map<Statistic, ByName> gathered_;
  CalibrationCost cost_;
};

}  // namespace espalier::pruning
