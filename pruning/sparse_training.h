// Which weights of a run train sparse: forward, both gradients and the update in time proportional to what lives. Their
// layers sum in another order than dense products, so weights differ in the last bits from those of a dense run;
// therefore nothing trains sparse unless asked, and `on` decides by a fixed rule, which gives the same bits every time.
// `measured` takes the sparsity from which a sparse step beat a dense one here, by more than noise: its choice, and so
// its bits, may differ from run to run. The thresholds go with the checkpoint, so that a resumed run keeps them.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/train/parameter.h"

namespace espalier::pruning {

enum class SparseTraining { off, on, measured };

struct SparseTrainingOptions {
  SparseTraining when = SparseTraining::off;
  double threshold = 0.9;    // `on`: the sparsity of a layer from which it trains sparse
  std::int64_t batch = 128;  // `measured`: what the steps are measured at
};

// Train sparse from this sparsity on, or never where it is above 1. Measured once for each shape, batch and choice of
// products in this process: forward, backward and update, dense against sparse at random masks.
double measured_break_even(std::int64_t rows, std::int64_t columns, std::int64_t batch);

struct SparseTrainingChoice {
  std::string parameter;
  bool sparse = false;
  std::string reason;  // "92.3 % are pruned, sparse from 90.0 %"
};

class SparseExecution {
 public:
  SparseExecution(std::vector<Parameter*> parameters, const SparseTrainingOptions& options);
  // After masks have changed or may have. `all_gradients`: the coming step must have those of pruned weights too.
  void choose(bool all_gradients);
  std::vector<SparseTrainingChoice> choices() const;  // of weights with a mask, as they stood last without such need
  // By name; those of weights that were not measured yet are missing.
  const std::map<std::string, double>& thresholds() const { return thresholds_; }
  void set_thresholds(std::map<std::string, double> thresholds) { thresholds_ = std::move(thresholds); }

 private:
  struct Weight {
    Parameter* parameter;
    Tensor keep = {};  // of the mask that was judged last
    bool sparse = false;
    std::string reason = {};
  };
  void judge(Weight& weight);
  double threshold_of(const Parameter& parameter);

  std::vector<Weight> weights_;
  SparseTrainingOptions options_;
  std::map<std::string, double> thresholds_;
};

}  // namespace espalier::pruning
