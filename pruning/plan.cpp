#include "pruning/plan.h"

#include <algorithm>
#include <map>
#include <optional>

#include "core/device/device_info.h"
#include "core/device/graph.h"
#include "core/device/stream.h"
#include "kernels/random.h"
#include "kernels/require.h"
#include "kernels/simt/range.h"
#include "pruning/fused_plan.h"
#include "pruning/product_steps.h"
#include "pruning/reason.h"

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

Trace trace_on_random_images(Module& model, const Shape& input) {
  const Tensor images = Tensor::empty(input);  // random: no value that a kernel could treat specially
  kernels::fill_uniform(images.size(), {.seed = kInputSeed}, 0.0f, 1.0f, images.data<float>(), current_stream());
  return trace_inference(model, images);
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

std::vector<RecordedCall> calls_of(const Trace& traced) {
  std::vector<RecordedCall> calls;
  for (const Trace::Step& step : traced.steps) {
    RecordedCall call{step.function, {}, traced.values[std::size_t(step.output)].tensor};
    for (const int value : step.inputs) call.inputs.push_back(traced.values[std::size_t(value)].tensor);
    calls.push_back(std::move(call));
  }
  return calls;
}

bool is_sparse_by_choice(const Choice& choice) { return choice.fastest_dense && choice.step.format != "dense"; }

std::string question_about(const char* race, const std::vector<RecordedCall>& calls,
                           const std::vector<PlanStep>& steps) {
  std::string question = fmt::format("{}\n{}\n", race, measured_on());
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const bool product = is_product(*calls[i].function);
    question += (product ? fingerprint(calls[i]) : std::string(calls[i].function->name())) + ": " + steps[i].format +
                ", " + steps[i].implementation + "\n";
  }
  return question;
}

// What takes the place of the `layers`, which launch so many nodes.
void describe_fused(PlanStep& step, const Implementation& network, const std::vector<Timing>& times, int nodes,
                    const std::vector<PlanStep>& layers) {
  const auto& function = dynamic_cast<const FusedNetworkFunction&>(*network.function);
  std::int64_t weights = 0;
  for (const PlanStep& layer : layers) {
    weights += layer.size.weights(), step.nonzeros += layer.nonzeros;
    step.macs += layer.macs, step.macs_kept += layer.macs_kept;
  }
  step.whole_network = true;
  step.sparsity = 1.0 - double(step.nonzeros) / double(weights);
  step.us = times[0].median_us, step.timing = times[0], step.launches = 1;
  step.weight_bytes = network.weight_bytes;
  step.bytes = network.weight_bytes + 4 * (function.input.size() + function.output.size());
  step.reason = fmt::format("one launch for all layers; layer by layer {:.1f} us in {}", times[1].median_us, nodes);
  step.candidates = {{.format = network.format,
                      .library = network.library,
                      .us = step.us,
                      .weight_bytes = step.weight_bytes,
                      .bytes = step.bytes,
                      .launches = 1,
                      .timing = times[0]},
                     {.format = "",
                      .library = "layer by layer",
                      .us = times[1].median_us,
                      .note = fmt::format("{:.2f}x the time of one launch", times[1].median_us / step.us),
                      .launches = nodes,
                      .timing = times[1]}};
  step.chosen = 0;
}

// Two whole networks in turns, or what the cache knows of them.
std::vector<Timing> race_of(const std::vector<TimedWork>& works, const std::vector<const Graph*>& graphs,
                            const std::string& question, const CompileOptions& options) {
  if (const auto known = options.cache.find(question); known && known->size() == 2) {
    return {(*known)[0].timing, (*known)[1].timing};
  }
  const std::vector<Timing> times = time_in_turns(works, options);
  options.cache.store(question, {{times[0], int(graphs[0]->node_count())}, {times[1], int(graphs[1]->node_count())}});
  return times;
}

}  // namespace

struct Plan::State {
  std::vector<PlanStep> steps;
  std::vector<Instruction> instructions;
  std::map<int, Tensor> constants;
  int input_value = -1, output_value = -1;
  Tensor input, output;
  std::optional<Graph> graph;
  std::optional<DenseRace> race;
  std::string timing;

  static std::unique_ptr<State> assemble(const Trace& traced, const std::vector<Choice>& choices);
  // The faster of `sparse` and of what it would be with dense products only.
  static std::unique_ptr<State> raced(std::unique_ptr<State> sparse, const Trace& traced,
                                      const std::vector<RecordedCall>& calls, const std::vector<Choice>& choices,
                                      const CompileOptions& options);

  static std::unique_ptr<State> with_note(std::unique_ptr<State> layers, const Implementation& network,
                                          const std::string& why);
  static std::unique_ptr<State> fused_or(std::unique_ptr<State> layers, const Trace& traced,
                                         const CompileOptions& options);

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

std::unique_ptr<Plan::State> Plan::State::assemble(const Trace& traced, const std::vector<Choice>& choices) {
  auto state = std::make_unique<State>();
  state->input_value = traced.input, state->output_value = traced.output;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const Trace::Step& step = traced.steps[i];
    Instruction instruction{choices[i].implementation.function, step.inputs, step.output};
    if (!choices[i].implementation.takes_weight) instruction.inputs.resize(1);
    for (const int value : instruction.inputs) {
      const Trace::Value& read = traced.values[std::size_t(value)];
      if (read.constant && !state->constants.contains(value)) state->constants[value] = read.tensor.clone();
    }
    state->steps.push_back(choices[i].step);
    state->instructions.push_back(std::move(instruction));
  }
  mark_last_uses(state->instructions, state->output_value);
  state->input = Tensor::empty(traced.values[std::size_t(traced.input)].tensor.shape());
  state->graph.emplace([plan = state.get()] { plan->run(); });
  return state;
}

std::unique_ptr<Plan::State> Plan::State::raced(std::unique_ptr<State> sparse, const Trace& traced,
                                                const std::vector<RecordedCall>& calls,
                                                const std::vector<Choice>& choices, const CompileOptions& options) {
  std::vector<Choice> dense_choices;
  for (const Choice& choice : choices) dense_choices.push_back(made_dense(choice, ""));
  DenseRace race;
  for (const Choice& choice : choices) race.us += choice.step.us;
  for (const Choice& choice : dense_choices) race.dense_us += choice.step.us;
  std::unique_ptr<State> dense;
  if (!options.gpu) {
    dense = assemble(traced, dense_choices);
    const auto times =
        race_of({{"network", "fastest of each layer", "", [&] { sparse->graph->launch(); }},
                 {"network", "dense", "", [&] { dense->graph->launch(); }}},
                {&*sparse->graph, &*dense->graph}, question_about("network", calls, sparse->steps), options);
    race = {times[0].median_us, times[1].median_us};
  }
  sparse->race = race;
  if (!dense || !race.dense_won()) return sparse;
  const std::string reason =
      fmt::format("as a whole the dense plan is faster: {:.1f} us against {:.1f} us", race.dense_us, race.us);
  for (std::size_t i = 0; i < choices.size(); ++i) dense->steps[i] = made_dense(choices[i], reason).step;
  dense->race = race;
  return dense;
}

// Why the network is not one launch, told beside the first product.
std::unique_ptr<Plan::State> Plan::State::with_note(std::unique_ptr<State> layers, const Implementation& network,
                                                    const std::string& why) {
  const auto product = std::find_if(layers->steps.begin(), layers->steps.end(),
                                    [](const PlanStep& step) { return !step.candidates.empty(); });
  if (product != layers->steps.end()) {
    product->candidates.push_back({.format = network.format, .library = network.library, .note = why});
  }
  return layers;
}

// What became of fused_network() where it was asked for: one step that is the network, in the place of `layers` if it
// is faster than all of them or if the first format is wanted, fast or not.
std::unique_ptr<Plan::State> Plan::State::fused_or(std::unique_ptr<State> layers, const Trace& traced,
                                                   const CompileOptions& options) {
  const auto asked = std::find_if(options.candidates.begin(), options.candidates.end(), [](const Candidate& one) {
    return std::holds_alternative<FusedNetworkCandidate>(one);
  });
  if (asked == options.candidates.end() || options.gpu) return layers;  // the model knows single products only
  const Implementation network = fuse_network(traced);
  if (!network.function) return with_note(std::move(layers), network, network.not_eligible);
  auto state = std::make_unique<State>();
  state->input_value = traced.input, state->output_value = traced.output;
  state->instructions.push_back({network.function, {traced.input}, traced.output});
  state->steps.push_back({.layer = "network", .format = network.format, .implementation = network.library});
  state->input = Tensor::empty(layers->input.shape());
  state->graph.emplace([plan = state.get()] { plan->run(); });
  const std::vector<RecordedCall> calls = calls_of(traced);
  const auto times =
      race_of({{"network", network.format, network.library, [&] { state->graph->launch(); }},
               {"network", "fastest of each layer", "", [&] { layers->graph->launch(); }}},
              {&*state->graph, &*layers->graph}, question_about("one launch", calls, layers->steps), options);
  const bool first = options.selection == Selection::first_format && asked == options.candidates.begin();
  if (!first && times[0].median_us >= (1.0 - kNoise) * times[1].median_us) {
    return with_note(std::move(layers), network,
                     fmt::format("the whole network in one launch takes {:.1f} us, layer by layer {:.1f} us",
                                 times[0].median_us, times[1].median_us));
  }
  describe_fused(state->steps[0], network, times, int(layers->graph->node_count()), layers->steps);
  return state;
}

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
const std::optional<DenseRace>& Plan::race() const { return state_->race; }
const std::string& Plan::timing() const { return state_->timing; }
std::size_t Plan::node_count() const { return state_->graph->node_count(); }
MemoryStatistics Plan::memory() const { return state_->graph->pool().statistics(); }

double Plan::steps_us() const {
  double sum = 0;
  for (const PlanStep& step : state_->steps) sum += step.us;
  return sum;
}

Plan compile(Module& model, const Shape& input, const CompileOptions& asked) {
  CompileOptions options = asked;
  options.floor_us = launch_floor_us(asked);
  Trace traced = trace_on_random_images(model, input);
  fuse_products(traced);
  const std::vector<RecordedCall> calls = calls_of(traced);
  std::vector<Choice> choices;
  for (const RecordedCall& call : calls) {
    choices.push_back(is_product(*call.function) ? choose(call, options) : keep(call, options));
  }
  std::unique_ptr<Plan::State> state = Plan::State::assemble(traced, choices);
  if (options.selection == Selection::fastest && std::any_of(choices.begin(), choices.end(), is_sparse_by_choice)) {
    state = Plan::State::raced(std::move(state), traced, calls, choices, options);
  }
  state = Plan::State::fused_or(std::move(state), traced, options);
  state->timing = options.gpu ? fmt::format("{}, modelled", options.gpu->name) : device_info().name;
  return Plan(std::move(state));
}

}  // namespace espalier::pruning
