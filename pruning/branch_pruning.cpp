#include "pruning/branch_pruning.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "kernels/require.h"
#include "layers/architecture.h"
#include "pruning/reduced.h"
#include "pruning/report.h"
#include "pruning/schedule.h"
#include "pruning/weights.h"

namespace espalier::pruning {
namespace {

bool lies_in(const std::string& name, const std::string& layer) { return name.starts_with(layer + "."); }

// Every residual block by its name, and the name of its body.
std::map<std::string, std::string> bodies_of(Description& description, const std::string& model_name) {
  const auto layers = layers_by_name(description, model_name);
  std::map<const Description*, std::string> names;
  for (const auto& [name, layer] : layers) names.emplace(layer, name);
  std::map<std::string, std::string> bodies;
  for (const auto& [name, layer] : layers) {
    if (layer->kind == "residual") bodies.emplace(name, names.at(&layer->children.at(0)));
  }
  return bodies;
}

// A block without its body is its shortcut, or, where that is x itself, nothing.
Description shallower(const Description& layer, const std::set<const Description*>& removed) {
  Description result{layer.kind, layer.attributes, {}};
  for (const Description& child : layer.children) {
    if (!removed.contains(&child)) {
      result.children.push_back(shallower(child, removed));
    } else if (child.children.size() > 1) {
      result.children.push_back(shallower(child.children[1], removed));
    } else if (layer.kind != "sequential") {
      result.children.push_back({"sequential", {}, {}});
    }
  }
  return result;
}

void copy_rest(Module& from, Module& to, const std::vector<std::string>& bodies) {
  const auto falls = [&](const auto* one) {
    return std::any_of(bodies.begin(), bodies.end(), [&](const auto& body) { return lies_in(one->name, body); });
  };
  std::vector<Parameter*> parameters = from.parameters();
  std::vector<Buffer*> buffers = from.buffers();
  std::erase_if(parameters, falls);
  std::erase_if(buffers, falls);
  const std::vector<Parameter*> into = to.parameters();
  const std::vector<Buffer*> buffers_into = to.buffers();
  require(into.size() == parameters.size() && buffers_into.size() == buffers.size(),
          "branch pruning: a layer of the model is described without its parameters");
  for (std::size_t i = 0; i < into.size(); ++i) {
    into[i]->value.value().copy_from(parameters[i]->value.value());
    if (parameters[i]->mask()) into[i]->set_mask({parameters[i]->mask()->keep.clone()});
  }
  for (std::size_t i = 0; i < buffers.size(); ++i) buffers_into[i]->value.copy_from(buffers[i]->value);
}

double left_of(const Report& report, Target::Unit unit) {
  if (unit == Target::Unit::params) return double(report.kept_parameters);
  if (unit == Target::Unit::macs) return double(report.kept_macs());
  return unit == Target::Unit::bytes ? double(report.sparse_bytes()) : double(report.kept());
}

// What is to be left at most.
double goal_of(const Report& report, const Target& target) {
  using Unit = Target::Unit;
  require(target.unit != Unit::threshold && target.unit != Unit::channels,
          "branch pruning: give a target of sparsity, params, macs or bytes, not ",
          std::string(to_string(target.unit)));
  const double all = left_of(report, target.unit);
  if (target.unit == Unit::sparsity) {
    require_sparsity(target.value);
    return (1 - target.value) * all;
  }
  return left_by(target, all, "branch pruning");
}

}  // namespace

std::vector<Branch> branches(Module& model, const Shape& input) {
  Description description = model.describe();
  const Report all = report(model, input);
  std::vector<Branch> found;
  for (const auto& [block, body] : bodies_of(description, model.name())) {
    Branch branch{.name = block, .body = body};
    for (const Parameter* parameter : model.parameters()) {
      if (lies_in(parameter->name, body)) branch.parameters += parameter->size();
    }
    for (const LayerReport& layer : all.layers) {
      if (lies_in(layer.name, body)) branch.macs += layer.macs;
    }
    found.push_back(std::move(branch));
  }
  return found;
}

void score_by_weights(std::vector<Branch>& branches, Module& model, const Criterion& criterion) {
  for (Branch& branch : branches) {
    double sum = 0, count = 0;
    for (const Parameter* parameter : weights_of(model)) {
      if (!lies_in(parameter->name, branch.body)) continue;
      sum += double(reduced(criterion(*parameter), kernels::Reduction::sum));
      count += double(parameter->size());
    }
    branch.score = count > 0 ? sum / count : 0;
  }
}

void score_by_loss(std::vector<Branch>& branches, Module& model, const Judge& judge) {
  const double before = judge(model).loss;
  for (Branch& branch : branches) branch.score = judge(*without_branches(model, {branch.name})).loss - before;
}

std::unique_ptr<Module> without_branches(Module& model, const std::vector<std::string>& blocks) {
  Description description = model.describe();
  const auto bodies = bodies_of(description, model.name());
  const auto layers = layers_by_name(description, model.name());
  std::set<const Description*> removed;
  std::vector<std::string> fallen;
  for (const std::string& block : blocks) {
    const auto body = bodies.find(block);
    require(body != bodies.end(), "branch pruning: ", block,
            " is no residual block of the model; branches() lists them");
    removed.insert(layers.at(block));
    fallen.push_back(body->second);
  }
  require(!removed.contains(&description), "branch pruning: the block is the whole model");
  std::unique_ptr<Module> result = build(shallower(description, removed));
  result->set_name(model.name());
  copy_rest(model, *result, fallen);
  result->set_training(model.training());
  return result;
}

ShallowModel prune_branches(Module& model, const Shape& input, const Target& target,
                            const std::vector<Branch>& scored) {
  require(!scored.empty(), "branch pruning: the model has no residual block");
  const Report before = report(model, input);
  const double goal = goal_of(before, target);
  std::vector<Branch> order = scored;
  std::stable_sort(order.begin(), order.end(), [](const Branch& a, const Branch& b) { return a.score < b.score; });
  ShallowModel result{.model = without_branches(model, {}), .removed = {}};
  result.parameters_before = before.parameters, result.macs_before = before.macs();
  double left = left_of(before, target.unit);
  for (const Branch& branch : order) {
    if (left <= goal) break;
    const auto around = [&](const std::string& block) { return lies_in(branch.name, block); };
    if (std::any_of(result.removed.begin(), result.removed.end(), around)) continue;
    std::erase_if(result.removed, [&](const std::string& inner) { return lies_in(inner, branch.name); });
    result.removed.push_back(branch.name);
    result.model = without_branches(model, result.removed);
    left = left_of(report(*result.model, input), target.unit);
  }
  const bool of_weights = target.unit == Target::Unit::sparsity;
  require(left <= goal, "branch pruning: ", std::int64_t(goal), " ",
          of_weights ? "weights" : std::string(to_string(target.unit)), " cannot be met: without any branch ",
          std::int64_t(left), " are left; prune channels or weights, too");
  const Report after = report(*result.model, input);
  result.parameters = after.parameters, result.macs = after.macs();
  return result;
}

std::string to_string(const std::vector<Branch>& branches) {
  std::string table = fmt::format("{:<28} {:>12} {:>14} {:>12}", "branch", "params", "MACs", "score");
  for (const Branch& branch : branches) {
    table += fmt::format("\n{:<28} {:>12} {:>14} {:>12.5g}", branch.name, branch.parameters, branch.macs, branch.score);
  }
  return table;
}

}  // namespace espalier::pruning
