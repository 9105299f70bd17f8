// A compiled model: its recorded steps, each computed the way that was measured to be the fastest, captured as one
// graph.
//   Plan plan = compile(model, images.shape(), {.candidates = {dense(), csr()}});
//   Tensor logits = plan(images);   // no allocation, one graph launch
//   fmt::print("{}\n", plan);       // per layer: format, implementation, time, reason
// What is fastest layer by layer need not be so as a whole: in the end the plan is timed beside the one of dense
// products only, and that one is taken if it wins. A Plan is a snapshot: training the model further does not change it.
// It serves one input shape, batch included.
#pragma once
#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/device/memory.h"
#include "layers/module.h"
#include "pruning/selection.h"

namespace espalier::pruning {

// The whole plan, in one launch, beside the one whose products are all dense.
struct DenseRace {
  double us = 0, dense_us = 0;
  bool dense_won = false;  // the other was not faster by more than noise, and the dense plan was taken
};

class Plan {
 public:
  ~Plan();
  Plan(Plan&&) noexcept;
  Plan& operator=(Plan&&) noexcept;

  // The model's output in evaluation mode. It belongs to the plan: the next call overwrites it.
  Tensor operator()(const Tensor& images) const;
  // The plan's own input. Who fills it in place and passes it to operator() saves a copy.
  const Tensor& input() const;

  const std::vector<PlanStep>& steps() const;
  double steps_us() const;                       // sum over the steps, each timed alone
  const std::optional<DenseRace>& race() const;  // none: there was no choice between a dense way and another
  const std::string& timing() const;             // whose times these are: a device's name, or "A100, modelled"
  std::size_t node_count() const;                // of the graph that a call launches
  MemoryStatistics memory() const;               // of the plan's pool: activations and workspaces
  std::string to_json() const;                   // [{layer, format, implementation, us, reason, candidates}, ...]

 private:
  struct State;
  explicit Plan(std::unique_ptr<State> state);
  friend Plan compile(Module&, const Shape&, const CompileOptions&);
  std::unique_ptr<State> state_;
};

// Runs the model once in evaluation mode on random images and measures its products' candidates.
Plan compile(Module& model, const Shape& input, const CompileOptions& options = {});

std::string to_string(const Plan& plan);  // a table for people

}  // namespace espalier::pruning

template <>
struct fmt::formatter<espalier::pruning::Plan> : fmt::formatter<std::string> {
  auto format(const espalier::pruning::Plan& plan, fmt::format_context& context) const {
    return fmt::formatter<std::string>::format(espalier::pruning::to_string(plan), context);
  }
};
