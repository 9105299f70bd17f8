#include "pruning/plan.h"

#include <map>
#include <optional>

#include "core/autograd/trace.h"
#include "core/device/graph.h"
#include "core/device/stream.h"
#include "kernels/random.h"
#include "kernels/require.h"
#include "kernels/simt/range.h"

namespace espalier::pruning {
namespace {

constexpr std::uint64_t kInputSeed = 1;

// What runs: a function, which values it reads, which one it makes, and which are dead after it.
struct Instruction {
  std::shared_ptr<const Function> function;
  std::vector<int> inputs;
  int output = -1;
  std::vector<int> last_used = {};
};

Trace trace_in_evaluation(Module& model, const Shape& input) {
  const Tensor images = Tensor::empty(input);  // random: no value that a kernel could treat specially
  kernels::fill_uniform(images.size(), {.seed = kInputSeed}, 0.0f, 1.0f, images.data<float>(), current_stream());
  const bool training = model.training();
  model.set_training(false);
  Trace traced = trace([&](const Variable& x) { return model(x); }, images);
  model.set_training(training);
  return traced;
}

std::vector<int> uses_of(const Trace& traced) {
  std::vector<int> uses(traced.values.size(), 0);
  for (const Trace::Step& step : traced.steps) {
    for (const int input : step.inputs) ++uses[std::size_t(input)];
  }
  ++uses[std::size_t(traced.output)];
  return uses;
}

// A product whose only reader is an activation or a max pool takes it in: y is written once, and pooled.
void fuse_products(Trace& traced) {
  const std::vector<int> uses = uses_of(traced);
  std::vector<Trace::Step> steps;
  std::map<int, std::size_t> maker;  // of a value: index into steps
  for (const Trace::Step& step : traced.steps) {
    const auto product = maker.find(step.inputs[0]);
    if (product != maker.end() && step.inputs.size() == 1 && uses[std::size_t(step.inputs[0])] == 1) {
      Trace::Step& before = steps[product->second];
      if (auto both = fused(*before.function, *step.function)) {
        before.function = std::move(both), before.output = step.output;
        maker[step.output] = product->second;
        continue;
      }
    }
    maker[step.output] = steps.size();
    steps.push_back(step);
  }
  traced.steps = std::move(steps);
}

void mark_last_uses(std::vector<Instruction>& instructions, int output) {
  std::map<int, std::size_t> last;
  for (std::size_t i = 0; i < instructions.size(); ++i) {
    for (const int input : instructions[i].inputs) last[input] = i;
  }
  for (const auto& [value, instruction] : last) {
    if (value != output) instructions[instruction].last_used.push_back(value);
  }
}

}  // namespace

struct Plan::State {
  std::vector<PlanStep> steps;
  std::vector<Instruction> instructions;
  std::map<int, Tensor> constants;
  int input_value = -1, output_value = -1;
  Tensor input, output;
  std::optional<Graph> graph;

  // Values die with their last reader, so that the pool hands their memory to the next step.
  void run() {
    output = Tensor();
    std::map<int, Tensor> values = constants;
    values[input_value] = input;
    Context context{.recording = false};
    for (std::size_t i = 0; i < instructions.size(); ++i) {
      const Instruction& instruction = instructions[i];
      const simt::Range range("layer", steps[i].layer, "forward");
      Tensors inputs;
      for (const int value : instruction.inputs) inputs.push_back(values.at(value));
      values[instruction.output] = instruction.function->forward(inputs, context);
      for (const int value : instruction.last_used) values.erase(value);
    }
    output = values.at(output_value);
  }
};

Plan::Plan(std::unique_ptr<State> state) : state_(std::move(state)) {}
Plan::~Plan() = default;
Plan::Plan(Plan&&) noexcept = default;
Plan& Plan::operator=(Plan&&) noexcept = default;

Tensor Plan::operator()(const Tensor& images) const {
  require(images.shape() == state_->input.shape(), "plan: images are ", images.shape().to_string(), ", compiled for ",
          state_->input.shape().to_string(), "; compile another plan for this shape");
  if (images.raw() != state_->input.raw()) state_->input.copy_from(images);
  state_->graph->launch();
  return state_->output;
}

const Tensor& Plan::input() const { return state_->input; }
const std::vector<PlanStep>& Plan::steps() const { return state_->steps; }
std::size_t Plan::node_count() const { return state_->graph->node_count(); }
MemoryStatistics Plan::memory() const { return state_->graph->pool().statistics(); }

double Plan::steps_us() const {
  double sum = 0;
  for (const PlanStep& step : state_->steps) sum += step.us;
  return sum;
}

Plan compile(Module& model, const Shape& input, const CompileOptions& options) {
  auto state = std::make_unique<Plan::State>();
  {
    Trace traced = trace_in_evaluation(model, input);
    fuse_products(traced);
    state->input_value = traced.input, state->output_value = traced.output;
    for (const Trace::Step& step : traced.steps) {
      RecordedCall call{step.function, {}};
      for (const int value : step.inputs) call.inputs.push_back(traced.values[std::size_t(value)].tensor);
      const Choice choice = is_product(*step.function) ? choose(call, options) : keep(call, options);
      Instruction instruction{choice.implementation.function, step.inputs, step.output};
      if (!choice.implementation.takes_weight) instruction.inputs.resize(1);
      for (const int value : instruction.inputs) {
        const Trace::Value& read = traced.values[std::size_t(value)];
        if (read.constant && !state->constants.contains(value)) state->constants[value] = read.tensor.clone();
      }
      state->steps.push_back(choice.step);
      state->instructions.push_back(std::move(instruction));
    }
  }
  mark_last_uses(state->instructions, state->output_value);
  state->input = Tensor::empty(input);
  state->graph.emplace([plan = state.get()] { plan->run(); });
  return Plan(std::move(state));
}

}  // namespace espalier::pruning
