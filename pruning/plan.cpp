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
#include "pruning/network_race.h"
#include "pruning/operand_conv2d.h"
#include "pruning/product_steps.h"
#include "pruning/reason.h"
#include "pruning/whole_network.h"

namespace espalier::pruning {
namespace {

constexpr std::uint64_t kInputSeed = 1;
constexpr double kClearGain = 1.25;  // of a layer: how much faster than dense makes up for what it costs its neighbours

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

// Where a convolution on tensor cores is the only reader of another's result, that stays as it reads it. Returns those
// convolutions, which are a launch less than alone.
std::vector<std::size_t> link_convolutions(std::vector<Instruction>& instructions, int output) {
  std::vector<std::size_t> takers;
  std::map<int, int> readers{{output, 1}};
  std::map<int, Instruction*> maker;
  for (const Instruction& one : instructions) {
    for (const int value : one.inputs) ++readers[value];
  }
  for (Instruction& one : instructions) {
    const auto before = maker.find(one.inputs[0]);
    if (before != maker.end() && readers[one.inputs[0]] == 1) {
      if (const auto both = linked(*before->second->function, *one.function)) {
        before->second->function = both->before, one.function = both->after;
        takers.push_back(std::size_t(&one - instructions.data()));
      }
    }
    maker[one.output] = &one;
  }
  return takers;
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

double sum_of(const std::vector<Choice>& choices) {
  double sum = 0;
  for (const Choice& choice : choices) sum += choice.step.us;
  return sum;
}

// The choices without the layers that are hardly faster alone than dense; none, if that takes nothing away or leaves no
// sparse layer.
std::vector<Choice> clear_gains(const std::vector<Choice>& choices) {
  std::vector<Choice> clear;
  int kept = 0, given_up = 0;
  for (const Choice& choice : choices) {
    clear.push_back(choice);
    if (!is_sparse_by_choice(choice)) continue;
    const Choice dense =
        made_dense(choice, fmt::format("as a whole faster so: {} gains too little", choice.step.format));
    const bool gains = dense.step.us >= kClearGain * choice.step.us;
    gains ? ++kept : ++given_up;
    if (!gains) clear.back() = dense;
  }
  return kept > 0 && given_up > 0 ? clear : std::vector<Choice>();
}

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

bool gains(const DenseRace& race) { return race.us < (1.0 - kNoise) * race.dense_us; }

std::string why_dense(const DenseRace& race) {
  const std::string times = fmt::format("{:.1f} µs against {:.1f} µs", race.dense_us, race.us);
  if (race.dense_us < race.us) return "as a whole the dense plan is faster: " + times;
  return fmt::format("as a whole less than {:.0f} % faster, which is noise: dense {}", 100 * kNoise, times);
}

std::string race_title(const std::vector<WholeNetwork>& networks) {
  std::string title = "one launch, in pairs";
  for (const WholeNetwork& network : networks) {
    const auto* function = dynamic_cast<const WholeNetworkFunction*>(network.implementation.function.get());
    if (function) title += ", " + network.implementation.format + " " + function->made_with;
  }
  return title;
}

// The times of the eligible networks and of the layers on a GPU that is not here.
std::vector<Timing> modelled(const std::vector<WholeNetwork>& networks, const std::vector<PlanStep>& layers) {
  std::vector<Timing> times;
  for (const WholeNetwork& network : networks) {
    if (network.implementation.function) times.push_back({.median_us = *network.limit_us});
  }
  times.push_back({});
  for (const PlanStep& layer : layers) times.back().median_us += layer.us;
  return times;
}

// Of the dense plan, where there is one: the layers' own race knows it, or the layers are it.
std::optional<double> dense_time(const std::vector<PlanStep>& layers, const std::optional<DenseRace>& race,
                                 double layers_us) {
  if (race) return race->dense_us;
  const bool dense = std::all_of(layers.begin(), layers.end(), [](const PlanStep& step) {
    return step.candidates.empty() || step.format == "dense";
  });
  return dense ? std::optional(layers_us) : std::nullopt;
}

// Of the eligible ones: that which is wanted first, else the fastest.
std::size_t fastest_network(const std::vector<WholeNetwork>& networks, const std::vector<std::size_t>& eligible,
                            const std::vector<Timing>& times) {
  std::size_t best = 0;
  for (std::size_t i = 0; i < eligible.size(); ++i) {
    if (networks[eligible[i]].wanted_first) return i;
    if (times[i].median_us < times[best].median_us) best = i;
  }
  return best;
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
  // The faster of `sparse` and of what it would be with dense products only; between them what is left of it with the
  // layers alone that gain much.
  static std::unique_ptr<State> raced(std::unique_ptr<State> sparse, const Trace& traced,
                                      const std::vector<RecordedCall>& calls, const std::vector<Choice>& choices,
                                      const CompileOptions& options);

  DenseRace against(const State& dense, const std::vector<RecordedCall>& calls, const CompileOptions& options) const;

  // The network as one function in the place of `layers`; without steps until it is known what they say.
  static std::unique_ptr<State> whole(const State& layers, const Trace& traced,
                                      std::shared_ptr<const Function> function);
  static std::unique_ptr<State> whole_or(std::unique_ptr<State> layers, const Trace& traced,
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
  for (const std::size_t i : link_convolutions(state->instructions, state->output_value)) --state->steps[i].launches;
  state->input = Tensor::empty(traced.values[std::size_t(traced.input)].tensor.shape());
  state->graph.emplace([plan = state.get()] { plan->run(); });
  return state;
}

DenseRace Plan::State::against(const State& dense, const std::vector<RecordedCall>& calls,
                               const CompileOptions& options) const {
  const auto times = network_race({{{"network", "fastest of each layer", "", [this] { graph->launch(); }}, &*graph},
                                   {{"network", "dense", "", [&dense] { dense.graph->launch(); }}, &*dense.graph}},
                                  question_about("networks in pairs", calls, steps), options);
  return {.us = times[0].median_us, .dense_us = times[1].median_us};
}

std::unique_ptr<Plan::State> Plan::State::raced(std::unique_ptr<State> sparse, const Trace& traced,
                                                const std::vector<RecordedCall>& calls,
                                                const std::vector<Choice>& choices, const CompileOptions& options) {
  std::vector<Choice> dense_choices;
  for (const Choice& choice : choices) dense_choices.push_back(made_dense(choice, ""));
  sparse->race = DenseRace{.us = sum_of(choices), .dense_us = sum_of(dense_choices)};
  if (options.gpu) return sparse;
  std::unique_ptr<State> dense = assemble(traced, dense_choices);
  sparse->race = sparse->against(*dense, calls, options);
  if (gains(*sparse->race)) return sparse;
  if (const std::vector<Choice> clear = clear_gains(choices); !clear.empty()) {
    std::unique_ptr<State> mixed = assemble(traced, clear);
    mixed->race = mixed->against(*dense, calls, options);
    if (gains(*mixed->race)) return mixed;
  }
  const std::string reason = why_dense(*sparse->race);
  for (std::size_t i = 0; i < choices.size(); ++i) dense->steps[i] = made_dense(choices[i], reason).step;
  dense->race = sparse->race;
  dense->race->dense_won = true;
  return dense;
}

std::unique_ptr<Plan::State> Plan::State::whole(const State& layers, const Trace& traced,
                                                std::shared_ptr<const Function> function) {
  auto state = std::make_unique<State>();
  state->input_value = traced.input, state->output_value = traced.output;
  state->instructions.push_back({std::move(function), {traced.input}, traced.output});
  state->steps.push_back({.layer = "network"});
  state->input = Tensor::empty(layers.input.shape());
  state->graph.emplace([plan = state.get()] { plan->run(); });
  return state;
}

// What became of the candidates that are whole networks: one step that is the network, in the place of `layers` if it
// is faster than all of them, or if the first format is wanted, fast or not.
std::unique_ptr<Plan::State> Plan::State::whole_or(std::unique_ptr<State> layers, const Trace& traced,
                                                   const CompileOptions& options) {
  const std::vector<WholeNetwork> networks = whole_networks(traced, options);
  std::vector<std::unique_ptr<State>> states;
  std::vector<std::size_t> eligible;
  std::vector<Racer> racers;
  const auto enter = [&](const char* format, const std::string& library, const Graph& graph) {
    racers.push_back({{"network", format, library, [&graph] { graph.launch(); }}, &graph});
  };
  for (std::size_t i = 0; i < networks.size(); ++i) {
    const Implementation& one = networks[i].implementation;
    if (!one.function) continue;
    states.push_back(whole(*layers, traced, one.function)), eligible.push_back(i);
    enter(one.format.c_str(), one.library, *states.back()->graph);
  }
  if (eligible.empty()) {
    note_whole_networks(networks, {}, layers->steps);
    return layers;
  }
  enter("fastest of each layer", "", *layers->graph);
  const std::vector<Timing> times =
      options.gpu ? modelled(networks, layers->steps)
                  : network_race(racers, question_about(race_title(networks).c_str(), calls_of(traced), layers->steps),
                                 options);
  const std::size_t best = fastest_network(networks, eligible, times);
  if (!networks[eligible[best]].wanted_first && times[best].median_us >= (1.0 - kNoise) * times.back().median_us) {
    note_whole_networks(networks, times, layers->steps);
    return layers;
  }
  states[best]->steps = {
      whole_network_step(networks, eligible[best], times, layers->steps, int(layers->graph->node_count()))};
  if (const auto dense_us = dense_time(layers->steps, layers->race, times.back().median_us)) {
    states[best]->race = DenseRace{.us = times[best].median_us, .dense_us = *dense_us};
  }
  return std::move(states[best]);
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
  state = Plan::State::whole_or(std::move(state), traced, options);
  state->timing = options.gpu ? fmt::format("{}, modelled", options.gpu->name) : device_info().name;
  return Plan(std::move(state));
}

}  // namespace espalier::pruning
