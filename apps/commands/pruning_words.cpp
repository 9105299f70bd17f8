#include "apps/commands/pruning_words.h"

namespace espalier::apps {

using namespace pruning;

Grouping grouping_of(const std::string& word) {
  return meaning_of<Grouping>({{"element", group::element()},
                               {"row", group::row()},
                               {"column", group::column()},
                               {"filter", group::filter()},
                               {"neuron", group::neuron()},
                               {"channel", group::channel()},
                               {"kernel", group::kernel()},
                               {"vector-4", group::vector(4)},
                               {"block-4", group::block(4, 4)}},
                              word);
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

Pattern pattern_of(const std::string& word) {
  return meaning_of<Pattern>({{"unstructured", unstructured()},
                              {"2:4", n_of_m(2, 4)},
                              {"filter", filters()},
                              {"neuron", neurons()},
                              {"channel", channels()}},
                             word);
}

Scope scope_of(const std::string& word) {
  return meaning_of<Scope>({{"global", Scope::global},
                            {"local", Scope::local},
                            {"erdos-renyi", Scope::erdos_renyi},
                            {"erdos-renyi-kernel", Scope::erdos_renyi_kernel}},
                           word);
}

}  // namespace espalier::apps
