// Weights that are led to zero before they are removed, so that the removal costs little: a pruner with a preparation
// makes its choice where the schedule prunes, and sets the masks `steps` updates later.
//   growing  the choice is made once; an L2 penalty on what will fall rises until nothing is left of it (GReg-1: Wang,
//            Qin, Zhang and Fu 2021, arXiv 2012.09243, section 3.1)
//   admm     all weights are pulled towards the nearest network that is sparse enough, which is sought anew in each
//            round (Zhang et al. 2018, arXiv 1804.03294, section 3); the last choice is made of what has become of them
//   variational, hard_concrete  weights are random and learn how random they may be (random_weights.h); the last choice
//            is made of what that leaves of them. What is superfluous then falls even beyond what the schedule wants.
// The first two pull by proximal steps (kernels/proximal.h) after each update, as part of a captured training step.
#pragma once
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/train/parameter.h"
#include "pruning/random_weights.h"

namespace espalier::pruning {

enum class PreparationKind { growing, admm, variational, hard_concrete };
constexpr bool is_random(PreparationKind kind) {  // weights are, meanwhile
  return kind == PreparationKind::variational || kind == PreparationKind::hard_concrete;
}

struct PreparationOptions {
  PreparationKind kind = PreparationKind::growing;
  float strength = 10.0f;        // of the penalty, divided by 2, in its last rounds; it rises by as much in each round
  int steps = 1000, every = 50;  // from the choice to the removal, and between rounds
  // Of random weights, whose strength is a factor of the penalty in the bound or the L0 norm (1 is the papers'),
  // divided by the number of training images; it has risen to that after half of the steps.
  std::int64_t images = 60'000;
  GateGroups groups = GateGroups::elements;
  float rate = 0.01f;  // at which their distributions learn
  std::uint64_t seed = 0;
};

// The masks of a sparse network near the one with these weights.
using Projection = std::function<std::vector<Mask>(const std::vector<Tensor>& weights)>;

class Preparation {
 public:
  // Throws InvalidArgument on a strength or steps that cannot be.
  Preparation(std::vector<Parameter*> parameters, const PreparationOptions& options);

  bool active() const { return age_ >= 0; }
  void begin(const Projection& projection);
  // After an update beyond begin()'s; true: it is time to set masks().
  bool step(const Projection& projection);
  std::vector<Mask> masks(const Projection& projection);  // ends the preparation
  double superfluous() const;  // part of the weights that random ones have shown to say nothing; else 0
  // For an update that was made with *rate; enqueues only, and does nothing to the weights while not active.
  void apply(const float* rate) const;

  int age() const { return age_; }  // updates since begin(); -1: not active. What a checkpoint must keep ...
  void set_age(int age);
  std::vector<Buffer*> state();  // ... beside these

 private:
  void round(const Projection& projection);

  std::vector<Parameter*> parameters_;
  PreparationOptions options_;
  std::vector<Buffer> falling_;          // growing: u8, 1 = will fall
  std::vector<Buffer> duals_, targets_;  // admm
  Buffer strength_;                      // [1]; 0 while not active
  std::unique_ptr<RandomWeights> random_;
  int age_ = -1;
};

}  // namespace espalier::pruning
