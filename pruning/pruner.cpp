#include "pruning/pruner.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/device/stream.h"
#include "kernels/elementwise.h"
#include "kernels/keep.h"
#include "kernels/require.h"
#include "pruning/choice.h"
#include "pruning/weights.h"

namespace espalier::pruning {
namespace {

std::vector<Parameter*> prunable(Module& model, const std::vector<std::string>& ignore) {
  std::vector<Parameter*> found = weights_of(model, ignore);
  require(!found.empty(), "pruner: no weight of two axes or more is left to prune among", names_of(model));
  return found;
}

void require_usable(const PrunerOptions& options) {
  require(options.criterion && options.pattern, "pruner: it needs a criterion and a pattern");
  require(options.min_density >= 0.0 && options.min_density <= 1.0, "pruner: min_density is ", options.min_density,
          "; it is the fraction of each layer that lives at least, in [0, 1]");
  require(options.max_density >= options.min_density && options.max_density <= 1.0, "pruner: max_density is ",
          options.max_density,
          "; it is the fraction of each layer that lives at most, in [min_density = ", options.min_density, ", 1]");
  require_sparsity(options.full_sparsity);
  if (options.regrowth) require_possible(*options.regrowth);
  if (options.splicing) require_possible(*options.splicing);
  require(!options.rewind || options.rewind->to >= 0, "pruner: rewinding to step ",
          options.rewind ? options.rewind->to : 0, "; it must be at least 0");
  require(!options.preparation || !options.rewind,
          "pruner: a preparation and rewinding; what was led to zero would be set back");
}

// The rates of `steps` updates gone through twice, faster: before `split` and from it on. Noise has to become small
// before it is taken away, and what is left learns without it.
learning_rate::Schedule in_two_courses(learning_rate::Schedule rates, std::int64_t split, std::int64_t steps) {
  return [rates = std::move(rates), split, steps](std::int64_t step) {
    const bool first = step < split;
    const double part = first ? double(step) / double(split) : double(step - split) / double(steps - split);
    return rates(std::int64_t(part * double(steps)));
  };
}

// What sets two rules apart: of JSON objects the values that differ, else all of each.
std::pair<std::string, std::string> differing(const std::string& theirs, const std::string& ours) {
  const nlohmann::json one = nlohmann::json::parse(theirs, nullptr, false),
                       two = nlohmann::json::parse(ours, nullptr, false);
  if (!one.is_object() || !two.is_object()) {
    return {fmt::format("by the rule \"{}\"", theirs), fmt::format("by \"{}\"", ours)};
  }
  const auto told = [](const nlohmann::json& rule, const nlohmann::json& other) {
    std::vector<std::string> values;
    for (const auto& [key, value] : rule.items()) {
      if (!other.contains(key) || other[key] != value) values.push_back(fmt::format("{} = {}", key, value.dump()));
    }
    for (const auto& [key, value] : other.items()) {
      if (!rule.contains(key)) values.push_back("no " + key);
    }
    return fmt::format("with {}", fmt::join(values, ", "));
  };
  return {told(one, two), told(two, one)};
}

// While it lives, the parameters have these values; an error gives them back their own, too.
class OtherWeights {
 public:
  OtherWeights(const std::vector<Parameter*>& parameters, const std::vector<Tensor>& weights)
      : parameters_(parameters) {
    for (const Parameter* parameter : parameters) own_.push_back(parameter->value.value());
    set(weights);
  }
  ~OtherWeights() { set(own_); }
  OtherWeights(const OtherWeights&) = delete;
  OtherWeights& operator=(const OtherWeights&) = delete;

 private:
  void set(const std::vector<Tensor>& values) const {
    for (std::size_t i = 0; i < values.size(); ++i) parameters_[i]->value.set_value(values[i]);
  }
  const std::vector<Parameter*>& parameters_;
  std::vector<Tensor> own_;
};

// One look at the device for all layers.
void require_finite(const std::vector<Parameter*>& parameters, const std::vector<Tensor>& scores) {
  const Tensor found = Tensor::zeros({std::int64_t(scores.size())}, DType::i32);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    kernels::any_nonfinite(scores[i].size(), scores[i].data<float>(), found.data<std::int32_t>() + std::int64_t(i),
                           current_stream());
  }
  const std::vector<std::int32_t> host = found.to_host_as<std::int32_t>();
  for (std::size_t i = 0; i < scores.size(); ++i) {
    require(host[i] == 0, "pruner: the scores of ", parameters[i]->name,
            " hold a NaN or an infinity; has training diverged?");
  }
}

}  // namespace

Pruner::Pruner(Module& model, PrunerOptions options)
    : model_(model),
      options_(std::move(options)),
      parameters_(prunable(model, options_.ignore)),
      execution_(model, parameters_, options_.sparse_training) {
  require_usable(options_);
  own_sparsity_.assign(parameters_.size(), -1.0);
  for (const auto& [name, own] : options_.layer_sparsity) {
    require_sparsity(own);
    const auto has_name = [&of = name](const Parameter* parameter) { return parameter->name == of; };
    const auto place = std::find_if(parameters_.begin(), parameters_.end(), has_name);
    require(place != parameters_.end(), "pruner: ", name, " has a sparsity of its own, ", own,
            ", but is not there to be pruned; there are", names_of(model));
    own_sparsity_[std::size_t(place - parameters_.begin())] = own;
  }
  if (options_.rewind) snapshot_.emplace(model);
  if (options_.preparation) preparation_.emplace(parameters_, *options_.preparation);
  if (options_.penalty && options_.penalty_end) {
    penalty_acts_ = Tensor::empty({1}), penalty_rate_ = Tensor::empty({1});
    choose_penalty();
  }
  if (!options_.splicing) return;
  for (const Parameter* parameter : parameters_) {
    shadows_.push_back({"shadow/" + parameter->name, parameter->value.value().clone()});
  }
}

bool Pruner::step() {
  if (options_.movement) options_.movement->observe();
  for (std::size_t i = 0; i < shadows_.size(); ++i) {
    follow_in_shadow(*options_.splicing, *parameters_[i], shadows_[i].value);
  }
  if (snapshot_ && step_ + 1 == options_.rewind->to) snapshot_->take();
  const auto sparsity = options_.schedule ? options_.schedule(step_) : std::nullopt;
  const bool removed = preparation_ && preparation_->active() && go_on_preparing();
  if (sparsity && preparation_) {
    prepared_sparsity_ = sparsity.value_or(0.0);
    preparation_->begin([this](const std::vector<Tensor>& weights) { return masks_near(weights); });
  } else if (sparsity) {
    prune_to(*sparsity);
    if (snapshot_ && step_ + 1 > options_.rewind->to) {
      require(options_.rewind->optimizer != nullptr, "pruner: rewinding needs the optimizer; attach() it");
      snapshot_->put_back(*options_.rewind->optimizer);
    }
  }
  regrow_or_splice();
  if (options_.release_at == step_) {
    for (Parameter* parameter : parameters_) parameter->clear_mask();
  }
  if (options_.movement) options_.movement->weights_were_set();
  ++step_;
  if (step_ == options_.penalty_end) choose_penalty();
  choose_execution();
  return preparation_ ? removed : sparsity.has_value();
}

bool Pruner::go_on_preparing() {
  const Projection projection = [this](const std::vector<Tensor>& weights) { return masks_near(weights); };
  if (!preparation_->step(projection)) return false;
  prepared_sparsity_ = std::max(prepared_sparsity_, preparation_->superfluous());
  set_masks(preparation_->masks(projection));
  return true;
}

void Pruner::prepare(const float* rate) const {
  if (penalty_acts_.defined()) {  // the step may have been captured while it acted
    float* const own = penalty_rate_.data<float>();
    kernels::multiply(1, rate, penalty_acts_.data<float>(), own, current_stream());
    options_.penalty->apply(own);
  } else if (options_.penalty) {
    options_.penalty->apply(rate);
  }
  if (preparation_) preparation_->apply(rate);
}

void Pruner::choose_penalty() const {
  if (!penalty_acts_.defined()) return;
  kernels::fill(1, step_ < *options_.penalty_end ? 1.0f : 0.0f, penalty_acts_.data<float>(), current_stream());
}

void Pruner::set_steps(int steps) {
  step_ = steps;
  choose_penalty();
}

// What the criterion and the pattern would keep if these were the weights.
std::vector<Mask> Pruner::masks_near(const std::vector<Tensor>& weights) {
  const OtherWeights meanwhile(parameters_, weights);
  return masks_for(score(), prepared_sparsity_);
}

std::string Pruner::always_dense() const {
  if (options_.movement) return "movement is observed of every weight";
  if (options_.splicing) return "splicing trains pruned weights in a shadow";
  return {};
}

void Pruner::choose_execution() {
  const bool grows_next = options_.regrowth && options_.regrowth->reads_gradients && options_.regrowth->due(step_);
  execution_.choose(grows_next || !always_dense().empty());
}

void Pruner::regrow_or_splice() {
  if (options_.regrowth && options_.regrowth->due(step_)) {
    for (Parameter* parameter : parameters_) regrow(*options_.regrowth, step_, *parameter);
  }
  if (options_.splicing && options_.splicing->due(step_)) {
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      splice(*options_.splicing, *parameters_[i], shadows_[i].value);
    }
  }
}

void Pruner::attach(Optimizer& optimizer) {
  if (options_.rewind) options_.rewind->optimizer = &optimizer;
}

learning_rate::Schedule Pruner::rates(learning_rate::Schedule base, std::int64_t steps) const {
  const bool random = options_.preparation && is_random(options_.preparation->kind);
  if (base && random && options_.schedule) {
    int chosen = 0;
    while (chosen < steps && !options_.schedule(chosen)) ++chosen;
    const std::int64_t removal = chosen + options_.preparation->steps + 1;
    return removal < steps ? in_two_courses(std::move(base), removal, steps) : base;
  }
  if (!options_.rewind || !options_.schedule) return base;
  return rewound(std::move(base), options_.schedule, options_.rewind->to, int(steps));
}

void Pruner::prune_to(double sparsity) {
  require_sparsity(sparsity);
  set_masks(masks_for(score(), sparsity));
}

void Pruner::prune_to(const Target& target, const std::optional<Shape>& input) {
  if (target.unit == Target::Unit::sparsity) return prune_to(target.value);
  require(!std::isnan(target.value), "pruner: a target of nan ", std::string(to_string(target.unit)),
          "; give a number");
  const std::vector<Tensor> scores = score();
  if (target.unit == Target::Unit::threshold) return set_masks(masks_above(scores, target.value));
  set_masks(solve(scores, target, input, nullptr));
}

double Pruner::sparsity_for(const Target& target, const std::optional<Shape>& input) {
  require(target.unit != Target::Unit::threshold, "pruner: a threshold is no sparsity; prune_to() it");
  if (target.unit == Target::Unit::sparsity) return target.value;
  double sparsity = 0;
  solve(score(), target, input, &sparsity);
  return sparsity;
}

// Of every parameter, with what is pruned already at -infinity.
std::vector<Tensor> Pruner::score() {
  const auto start = std::chrono::steady_clock::now();
  last_cost_ = {.scorings = 1};
  if (options_.calibration) {
    options_.calibration->run();
    const CalibrationCost& cost = options_.calibration->cost();
    last_cost_.forward_passes = cost.forward_passes;
    last_cost_.backward_passes = cost.backward_passes;
    last_cost_.bytes = cost.bytes;
  }
  std::vector<Tensor> scores;
  for (const Parameter* parameter : parameters_) {
    scores.push_back(options_.criterion(*parameter));
    require(scores.back().shape() == parameter->value.shape() && scores.back().dtype() == DType::f32,
            "pruner: the criterion gave scores ", scores.back().shape().to_string(), " for ", parameter->name, " ",
            parameter->value.shape().to_string());
  }
  require_finite(parameters_, scores);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const Parameter& parameter = *parameters_[i];
    const bool counts = parameter.mask() && options_.normalisation == ScoreNormalisation::mean;
    scores[i] = normalised(scores[i], options_.normalisation, counts ? parameter.mask()->kept() : parameter.size(),
                           parameter.name);
    bury_pruned(parameter, scores[i]);
  }
  last_cost_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  cost_.scorings += 1;
  cost_.forward_passes += last_cost_.forward_passes;
  cost_.backward_passes += last_cost_.backward_passes;
  cost_.bytes = std::max(cost_.bytes, last_cost_.bytes);
  cost_.seconds += last_cost_.seconds;
  return scores;
}

void Pruner::set_masks(std::vector<Mask> masks) {
  require(masks.size() == parameters_.size(), "pruner: the pattern gave ", masks.size(), " masks for ",
          parameters_.size(), " weights");
  for (std::size_t i = 0; i < masks.size(); ++i) {
    if (const Mask* old = parameters_[i]->mask(); old && old->keep.shape() == masks[i].keep.shape()) {
      kernels::intersect_keep(old->keep.size(), old->keep.data<std::uint8_t>(), masks[i].keep.data<std::uint8_t>(),
                              current_stream());
    }
  }
  const std::vector<std::int64_t> kept = count_kept(masks);
  for (std::size_t i = 0; i < masks.size(); ++i) {
    require(kept[i] > 0, "pruner: nothing of ", parameters_[i]->name,
            " would be left, and no signal would pass; raise min_density, or name the layer in `ignore`");
  }
  for (std::size_t i = 0; i < masks.size(); ++i) parameters_[i]->set_mask(std::move(masks[i]));
  choose_execution();
  if (options_.after_prune) options_.after_prune();
}

std::string Pruner::record() const {
  nlohmann::json json{{"step", step_}, {"rule", options_.rule}};
  if (preparation_) json.update({{"preparing", preparation_->age()}, {"sparsity", prepared_sparsity_}});
  for (const auto& [name, even] : execution_.thresholds()) {
    json["sparse_from"][name] = even.from;
    if (even.by == SampledBy::vendor) json["sampled_by_vendor"].push_back(name);
  }
  return json.dump();
}

std::string Pruner::rule_of(const std::string& record) {
  const nlohmann::json json = nlohmann::json::parse(record, nullptr, false);
  require(json.is_object() && json.contains("rule") && json["rule"].is_string(),
          "its record of pruning cannot be used");
  return json["rule"];
}

void Pruner::check(const std::string& record) const {
  const nlohmann::json json = nlohmann::json::parse(record, nullptr, false);
  require(json.is_object() && json.contains("step") && json.contains("rule") && json["step"].is_number_integer() &&
              json["rule"].is_string(),
          "its record of pruning cannot be used");
  require(!preparation_ || (json.contains("preparing") && json["preparing"].is_number_integer() &&
                            json.contains("sparsity") && json["sparsity"].is_number()),
          "its record does not say how far the preparation was");
  if (json.contains("sparse_from")) {
    const auto& thresholds = json["sparse_from"];
    const bool numbers =
        std::all_of(thresholds.begin(), thresholds.end(), [](const auto& threshold) { return threshold.is_number(); });
    require(thresholds.is_object() && numbers, "its record of sparse training cannot be used");
    const auto by_vendor = json.value("sampled_by_vendor", nlohmann::json::array());
    const bool known = std::all_of(by_vendor.begin(), by_vendor.end(), [&](const auto& name) {
      return name.is_string() && thresholds.contains(name.template get<std::string>());
    });
    require(by_vendor.is_array() && known, "its record of sparse training cannot be used");
  }
  if (json["rule"] == options_.rule) return;
  const auto [theirs, ours] = differing(json["rule"], options_.rule);
  throw InvalidArgument(fmt::format("was pruned {}, the run to resume {}", theirs, ours));
}

void Pruner::restore(const std::string& record) {
  check(record);
  const nlohmann::json json = nlohmann::json::parse(record);
  set_steps(json.at("step").get<int>());
  if (preparation_) {
    preparation_->set_age(json.at("preparing").get<int>());
    prepared_sparsity_ = json.at("sparsity").get<double>();
  }
  std::map<std::string, BreakEven> thresholds;
  for (const auto& [name, from] : json.value("sparse_from", std::map<std::string, double>())) thresholds[name] = {from};
  for (const std::string& name : json.value("sampled_by_vendor", std::vector<std::string>())) {
    thresholds.at(name).by = SampledBy::vendor;
  }
  execution_.set_thresholds(std::move(thresholds));
  if (options_.movement) options_.movement->weights_were_set();
  choose_execution();
}

std::vector<Buffer*> Pruner::state() {
  std::vector<Buffer*> state = options_.movement ? options_.movement->state() : std::vector<Buffer*>();
  for (Buffer& shadow : shadows_) state.push_back(&shadow);
  if (snapshot_) {
    for (Buffer* buffer : snapshot_->state()) state.push_back(buffer);
  }
  if (preparation_) {
    for (Buffer* buffer : preparation_->state()) state.push_back(buffer);
  }
  return state;
}

Report Pruner::report(const std::optional<Shape>& input) const { return pruning::report(model_, input); }

}  // namespace espalier::pruning
