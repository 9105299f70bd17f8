// Lottery tickets: at each pruning what survives is set back to its value after `to` updates and trains again from
// there (Frankle and Carbin 2019, arXiv 1803.03635, with to = 0; Frankle et al. 2020, arXiv 1912.05671). Moments of the
// optimizer start anew. The learning rate goes back with rewound() of schedule.h.
#pragma once
#include <vector>

#include "core/train/optimizer.h"
#include "layers/module.h"

namespace espalier::pruning {

struct Rewind {
  int to = 0;                      // updates
  Optimizer* optimizer = nullptr;  // must outlive the pruner; may come later, by Pruner::attach()
};

class Snapshot {
 public:
  explicit Snapshot(Module& model);  // of the model as it is now
  void take();
  void put_back(Optimizer& optimizer) const;  // what is masked stays zero
  std::vector<Buffer*> state();

 private:
  Module* model_;
  std::vector<Buffer> values_;  // of parameters, then of buffers
};

}  // namespace espalier::pruning
