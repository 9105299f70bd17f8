#include "apps/commands/pruning_words.h"

#include "apps/commands/pruning_options.h"

namespace espalier::apps {

using namespace pruning;

const std::vector<std::string>& criteria() {
  static const std::vector<std::string> words{"magnitude",
                                              "random",
                                              "gradient",
                                              "taylor",
                                              "taylor-squared",
                                              "snip",
                                              "grasp",
                                              "movement",
                                              "fisher",
                                              "block-obs",
                                              "geometric-median",
                                              "dissimilarity",
                                              "batch-norm-scale",
                                              "activation-frequency",
                                              "wanda",
                                              kAblation};
  return words;
}
const std::vector<std::string>& group_scores() {
  static const std::vector<std::string> words{"sum", "mean", "norm"};
  return words;
}
const std::vector<std::string>& normalisations() {
  static const std::vector<std::string> words{"none", "mean", "max", "lamp"};
  return words;
}
const std::vector<std::string>& scopes() {
  static const std::vector<std::string> words{"global", "local", "erdos-renyi", "erdos-renyi-kernel"};
  return words;
}
const std::vector<std::string>& schedules() {
  static const std::vector<std::string> words{"cubic", "linear", "iterative", "one-shot", "before-training"};
  return words;
}
const std::vector<std::string>& regrowths() {
  static const std::vector<std::string> words{"none", "gradient", "random", "splicing"};
  return words;
}

const std::vector<std::string>& preparations() {
  static const std::vector<std::string> words{"none", "growing", "admm", "variational", "hard-concrete"};
  return words;
}

const std::vector<std::string>& penalties() {
  static const std::vector<std::string> words{
      "none", "l1", "l2", "group-lasso-filters", "group-lasso-channels", "batch-norm-scale"};
  return words;
}

const std::vector<std::string>& sparse_trainings() {
  static const std::vector<std::string> words{"off", "on", "auto"};
  return words;
}

GroupScore group_score_of(const std::string& word) {
  return meaning_of<GroupScore>({{"sum", GroupScore::sum}, {"mean", GroupScore::mean}, {"norm", GroupScore::norm}},
                                word);
}

ScoreNormalisation normalisation_of(const std::string& word) {
  return meaning_of<ScoreNormalisation>({{"none", ScoreNormalisation::none},
                                         {"mean", ScoreNormalisation::mean},
                                         {"max", ScoreNormalisation::max},
                                         {"lamp", ScoreNormalisation::lamp}},
                                        word);
}

bool has_noise(const std::string& preparation) {
  return preparation == "variational" || preparation == "hard-concrete";
}

double strength_of(const PruningOptions& options) {
  if (options.strength != 0) return options.strength;  // what is no strength is refused where it is used
  return has_noise(options.preparation) ? 1.0 : 10.0;
}

PreparationKind preparation_of(const std::string& word) {
  return meaning_of<PreparationKind>({{"growing", PreparationKind::growing},
                                      {"admm", PreparationKind::admm},
                                      {"variational", PreparationKind::variational},
                                      {"hard-concrete", PreparationKind::hard_concrete}},
                                     word);
}

GateGroups gate_groups_of(const std::string& word) {
  if (word == "element") return GateGroups::elements;
  if (word == "row" || word == "filter" || word == "neuron") return GateGroups::filters;
  require(word == "column" || word == "channel", "prune: the preparation hard-concrete has no gates for the group ",
          word, "; give element, filter, neuron or channel");
  return GateGroups::channels;
}

Scope scope_of(const std::string& word) {
  return meaning_of<Scope>({{"global", Scope::global},
                            {"local", Scope::local},
                            {"erdos-renyi", Scope::erdos_renyi},
                            {"erdos-renyi-kernel", Scope::erdos_renyi_kernel}},
                           word);
}

SparseTraining sparse_training_of(const std::string& word) {
  return meaning_of<SparseTraining>(
      {{"off", SparseTraining::off}, {"on", SparseTraining::on}, {"auto", SparseTraining::measured}}, word);
}

}  // namespace espalier::apps
