// Which weights of a run train sparse: forward, both gradients and the update in time proportional to what lives. Their
// layers sum in another order than dense products, so weights differ in the last bits from those of a dense run;
// therefore nothing trains sparse unless asked, and `on` decides by a fixed rule, which gives the same bits every time.
// `measured` takes the sparsity from which a sparse step beat a dense one here, by more than noise: its choice, and so
// its bits, may differ from run to run. The thresholds go with the checkpoint, so that a resumed run keeps them.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/train/parameter.h"
#include "layers/product.h"

namespace espalier::pruning {

enum class SparseTraining { off, on, measured };

struct SparseTrainingOptions {
  SparseTraining when = SparseTraining::off;
  double threshold = 0.9;  // `on`: the sparsity of a layer from which it trains sparse
  // `on`: of a convolution, weights of a filter's window below which the maps cost more than products can save: a
  // first layer of 3 x 3 x 1 took 1.7 times as long sparse, one of 3 x 3 x 32 half as long (CPU emulation).
  std::int64_t least_window = 64;
  std::int64_t batch = 128;  // `measured`: what the steps are measured at
};

// Train sparse from this sparsity on, or never where it is above 1. Measured once for each layer, batch and choice of
// products in this process: forward, backward and update, dense against sparse at random masks.
struct BreakEven {
  double from = 0.0;
  SampledBy by = SampledBy::ours;  // of a dense layer's gradients: the faster one there
};
BreakEven measured_break_even(const LayerCall& call, std::int64_t batch);
double measured_break_even(std::int64_t rows, std::int64_t columns, std::int64_t batch);  // of a dense layer

struct SparseTrainingChoice {
  std::string parameter;
  bool sparse = false;
  std::string reason;  // "92.3 % are pruned, sparse from 90.0 %"
};

class SparseExecution {
 public:
  // Of these parameters of the model, which must outlive this.
  SparseExecution(Module& model, const std::vector<Parameter*>& parameters, const SparseTrainingOptions& options);
  // After masks have changed or may have. `all_gradients`: the coming step must have those of pruned weights too.
  void choose(bool all_gradients);
  std::vector<SparseTrainingChoice> choices() const;  // of weights with a mask, as they stood last without such need
  // By name; those of weights that were not measured yet are missing.
  const std::map<std::string, BreakEven>& thresholds() const { return thresholds_; }
  void set_thresholds(std::map<std::string, BreakEven> thresholds);

 private:
  struct Weight {
    Parameter* parameter;
    const ProductLayer* layer;  // null: of a layer of another kind
    Tensor keep = {};           // of the mask that was judged last
    bool sparse = false;
    SampledBy by = SampledBy::ours;
    std::string reason = {};
  };
  void judge(Weight& weight);
  std::optional<BreakEven> threshold_of(const Weight& weight);  // none: it is not known yet how the layer is called

  std::vector<Weight> weights_;
  SparseTrainingOptions options_;
  std::map<std::string, BreakEven> thresholds_;
};

}  // namespace espalier::pruning
