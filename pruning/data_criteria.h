// Criteria that look at data through a Calibration, which must outlive them. Scores, higher = keep.
// A small gradient alone says little: near a minimum every gradient is small, that of the most important weight too, so
// pruning by |g| removes what has converged. What removing a weight costs is, to first order, |g w| (Taylor): small
// where either is. So Taylor is the default among gradient criteria, and |g| serves where it means something: for
// regrowth, where w = 0 and the first-order gain of a new connection is |g| alone.
#pragma once
#include "pruning/calibration.h"
#include "pruning/criterion.h"

namespace espalier::pruning {

Criterion absolute_gradient(Calibration& calibration);  // mean |g|: the accumulated gradient, with the warning above
Criterion taylor(Calibration& calibration);             // |w| mean |g| (Molchanov et al. 2017, arXiv 1611.06440)
Criterion taylor_squared(Calibration& calibration);     // mean (g w)^2 (Molchanov et al. 2019, arXiv 1906.10771, eq. 8)

// Both are meant for a network that has not been trained. |w g| of the whole loss (Lee et al. 2019, arXiv 1810.02340);
// w (H g), so that what lives preserves the gradient's flow (Wang et al. 2020, arXiv 2002.07376, equation 8).
Criterion snip(Calibration& calibration);
Criterion grasp(Calibration& calibration);

// w^2 F_ii / 2 (optimal brain damage, LeCun et al. 1990, with the empirical Fisher information for the Hessian).
Criterion diagonal_fisher(Calibration& calibration);
// w^2 / (2 [F^-1]_ii), F in blocks of 32 weights (WoodFisher: Singh and Alistarh 2020, arXiv 2004.14340).
Criterion block_obs(Calibration& calibration);

// The fraction of samples and positions at which a filter's activation is not zero, 1 - APoZ (Hu et al. 2016, arXiv
// 1607.03250); measured where the next layer reads it, behind a max pool that the convolution has taken in.
Criterion activation_frequency(Calibration& calibration);
// |w| |x|, the norm of the input channel that w multiplies (Wanda: Sun et al. 2023, arXiv 2306.11695).
Criterion wanda(Calibration& calibration);

// The sum over training steps of -g w: weights that training moves away from zero (Sanh et al. 2020, arXiv
// 2005.07683). observe() after each update, before the pruner's step; not under a scaled loss, whose scale would weigh
// the steps. The model must outlive it.
class Movement {
 public:
  explicit Movement(Module& model);
  void observe();
  Tensor scores(const Parameter& parameter) const;
  std::vector<Buffer*> state();  // what a checkpoint must keep
  void weights_were_set();       // after a resumption: the next step begins at the weights as they are

 private:
  struct Tracked {
    const Parameter* weight;
    Tensor before;
    Buffer score;
  };
  std::vector<Tracked> tracked_;
};
Criterion movement(const Movement& movement);  // refers to it

}  // namespace espalier::pruning
