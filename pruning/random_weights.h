// Weights that are random while a model trains, each by a distribution that is learned: where the data do not mind, it
// becomes so wide, or so certainly zero, that the weight can be removed. What a preparation (preparation.h) of the
// kinds variational and hard_concrete is made of; the kernels' headers have the formulae and papers.
//   variational    a weight has a variance; products draw their sums; superfluous is a weight with log alpha > 3,
//                  alpha = variance / weight^2. Begins at a variance of exp(-10).
//   hard_concrete  a weight, or a group of weights, has a gate that is 0 or 1 with a learned probability; superfluous
//                  is what a gate of 0 closes when it is no longer random. Begins with gates that are open to 0.9.
// The penalty (a divergence, an expected number of weights) enters through the gradient, not the loss that is shown.
// What is learned of the distributions has an Adam of its own. Nothing here waits but begin, resume and the choice.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "core/train/adam.h"
#include "core/train/parameter.h"

namespace espalier::pruning {

enum class Randomness { variational, hard_concrete };
enum class GateGroups { elements, filters, channels };  // filters: or neurons, axis 0; channels: axis 1

struct RandomWeightOptions {
  Randomness kind = Randomness::variational;
  GateGroups groups = GateGroups::elements;
  float rate = 0.01f;  // of the Adam that learns the distributions
  std::uint64_t seed = 0;
};

class RandomWeights {
 public:
  // The penalty's weight in the loss is *strength, f32 [1] on the device. Throws InvalidArgument where a layer cannot
  // compute with a random weight, or the rate cannot be. Parameters must outlive this.
  RandomWeights(std::vector<Parameter*> parameters, const RandomWeightOptions& options, const Tensor& strength);
  ~RandomWeights() { detach(); }
  RandomWeights(const RandomWeights&) = delete;
  RandomWeights& operator=(const RandomWeights&) = delete;

  void begin();              // with fresh distributions, layers compute with random weights
  void resume(int updates);  // the same with those of the state, so many updates old
  void detach();             // layers compute with the values again
  // After an update of the weights: that of the distributions. Enqueues only.
  void update();
  // What the distributions leave of the weights, the larger the better: |weight| in deviations, or the weight times its
  // gate.
  std::vector<Tensor> signals() const;
  double superfluous() const;  // part of the weights
  void settle();               // weights become what is expected of them; their layers compute with the values again
  std::vector<Buffer*> state();

 private:
  class Distribution;
  class Variational;
  class HardConcrete;
  std::vector<Parameter*> parameters_;
  RandomWeightOptions options_;
  Buffer draws_;  // i64 [1]: steps, counted on the device
  std::vector<std::shared_ptr<Distribution>> distributions_;
  std::vector<Buffer> values_;
  std::unique_ptr<Adam> adam_;
};

}  // namespace espalier::pruning
