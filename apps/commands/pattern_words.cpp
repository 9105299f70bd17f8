#include "apps/commands/pattern_words.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "apps/commands/sized_word.h"
#include "apps/commands/suggestion.h"
#include "kernels/require.h"
#include "kernels/sparse/vector_nm_spmm.h"
#include "pruning/structured_pattern.h"

namespace espalier::apps {

using namespace pruning;

namespace {

template <class Meaning>
using Forms = std::map<std::string, std::function<Meaning(const Sizes&)>>;

const Forms<Pattern>& pattern_forms() {
  static const Forms<Pattern> forms{
      {"unstructured", [](const Sizes&) { return unstructured(); }},
      {"filter", [](const Sizes&) { return filters(); }},
      {"neuron", [](const Sizes&) { return neurons(); }},
      {"channel", [](const Sizes&) { return channels(); }},
      {"#:#", [](const Sizes& of) { return n_of_m(of[0], of[1]); }},
      {"#:#-channels", [](const Sizes& of) { return n_of_m_channels(of[0], of[1]); }},
      {"#:#:#", [](const Sizes& of) { return v_n_m(of[0], of[1], of[2]); }},
      {"vector-#", [](const Sizes& of) { return vector(of[0]); }},
      {"vector-#-#:#", [](const Sizes& of) { return vector_n_of_m(of[0], of[1], of[2]); }},
      {"block-#", [](const Sizes& of) { return block(of[0], of[0]); }},
      {"block-#x#", [](const Sizes& of) { return block(of[0], of[1]); }},
      {"block-#x#-channels", [](const Sizes& of) { return block_channels(of[0], of[1]); }},
  };
  return forms;
}

const Forms<Grouping>& group_forms() {
  static const Forms<Grouping> forms{
      {"element", [](const Sizes&) { return group::element(); }},
      {"row", [](const Sizes&) { return group::row(); }},
      {"column", [](const Sizes&) { return group::column(); }},
      {"filter", [](const Sizes&) { return group::filter(); }},
      {"neuron", [](const Sizes&) { return group::neuron(); }},
      {"channel", [](const Sizes&) { return group::channel(); }},
      {"kernel", [](const Sizes&) { return group::kernel(); }},
      {"vector-#", [](const Sizes& of) { return group::vector(of[0]); }},
      {"block-#", [](const Sizes& of) { return group::block(of[0], of[0]); }},
      {"block-#x#", [](const Sizes& of) { return group::block(of[0], of[1]); }},
  };
  return forms;
}

template <class Meaning>
Meaning meaning_of(const std::string& word, const Forms<Meaning>& forms, const std::vector<std::string>& listed) {
  const SizedWord sized(word);
  if (const auto found = forms.find(sized.form); found != forms.end()) return found->second(sized.sizes);
  throw InvalidArgument("\"" + word + "\" is unknown; " + suggestion(word, listed));
}

template <class Meaning>
std::string fault_in(const std::string& word, Meaning (*meaning)(const std::string& word)) try {
  return meaning(word), std::string();
} catch (const InvalidArgument& error) {
  return error.what();
}

}  // namespace

const std::vector<std::string>& patterns() {
  static const std::vector<std::string> words{"unstructured",       "N:M",          "N:M-channels", "V:N:M",
                                              "vector-V",           "vector-V-N:M", "block-B",      "block-RxC",
                                              "block-RxC-channels", "filter",       "neuron",       "channel",
                                              kCoupledChannel,      kBranch};
  return words;
}

const std::vector<std::string>& groups() {
  static const std::vector<std::string> words{"element", "row",    "column",   "filter",  "neuron",
                                              "channel", "kernel", "vector-V", "block-B", "block-RxC"};
  return words;
}

std::string fault_of_pattern(const std::string& word) {
  return word == kCoupledChannel || word == kBranch ? std::string() : fault_in(word, pattern_of);
}

std::string fault_of_rated_pattern(const std::string& word) {
  const std::string fault = fault_in(word, pattern_of);
  return fault.empty() && own_sparsity(word) ? word + " sets the sparsity itself; give a pattern that leaves it open"
                                             : fault;
}

std::string fault_of_group(const std::string& word) { return fault_in(word, grouping_of); }

Pattern pattern_of(const std::string& word) {
  require(word != kBranch, "--pattern branch: whole branches fall once, in espalier prune or a recipe, to --sparsity, ",
          "--params, --macs or --bytes; leave out --auto, --speedup and --latency-ms");
  return meaning_of(word, pattern_forms(), patterns());
}

Grouping grouping_of(const std::string& word) { return meaning_of(word, group_forms(), groups()); }

std::optional<double> own_sparsity(const std::string& pattern) {
  const SizedWord sized(pattern);
  const std::vector<std::string> forms{"#:#", "#:#-channels", "#:#:#", "vector-#-#:#"};
  if (std::find(forms.begin(), forms.end(), sized.form) == forms.end()) return std::nullopt;
  const int m = sized.sizes.back(), n = sized.sizes[sized.sizes.size() - 2];
  return 1.0 - double(n) / m;
}

std::vector<Candidate> formats_for(const std::string& pattern) {
  std::vector<Candidate> found{dense(), csr(), two_four()};
  const SizedWord sized(pattern);
  const int rows = sized.sizes.empty() ? 0 : sized.sizes.front(), columns = rows > 0 ? sized.sizes.back() : 0;
  if (sized.form == "vector-#" && kernels::is_vector_height(rows)) found.push_back(vector_nm(rows));
  found.push_back(sized.form.starts_with("block-") ? block_csr(rows, columns) : block_csr(8, 8));
  return found;
}

std::optional<PermutationOptions> permutation_for(const std::string& pattern) {
  const SizedWord sized(pattern);
  if (sized.form != "#:#") return std::nullopt;
  return PermutationOptions{.n = sized.sizes[0], .m = sized.sizes[1]};
}

PruningOptions settled(PruningOptions options) {
  const std::optional<double> own = own_sparsity(options.pattern);
  if (!own) return options;
  const Target& target = options.target;
  const bool agrees = target.unit == Target::Unit::sparsity && std::abs(target.value - *own) < 5e-3;
  require(agrees || !options.target_said,
          fmt::format("prune: the pattern {} itself removes {:g} % of the weights; leave out {} {:g}", options.pattern,
                      100 * *own, to_string(target.unit), target.value));
  require(options.layers.empty(), "prune: the pattern ", options.pattern,
          " removes as much of every weight; leave out their own sparsities, or the weight with ignore");
  options.target = {Target::Unit::sparsity, *own};
  return options;
}

}  // namespace espalier::apps
