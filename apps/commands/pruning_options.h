// What the command line or a recipe asks of pruning, in words and numbers.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "pruning/rates.h"

namespace CLI {
class App;
}

namespace espalier::apps {

inline constexpr const char* kCoupledChannel = "coupled-channel";  // patterns that change the network's layers
inline constexpr const char* kBranch = "branch";
inline constexpr const char* kAblation = "ablation";  // the criterion of branches: what the loss is without one

struct PruningOptions {
  std::string criterion = "magnitude", group = "element", group_score = "sum", normalisation = "none";
  std::string pattern = "unstructured", scope = "global", schedule = "cubic", regrowth = "none";
  pruning::Target target = {};
  bool target_said = false;
  double min_density = 0.01, max_density = 1.0;
  std::vector<std::string> ignore = {};       // names of parameters; of groups of channels, where those fall
  std::map<std::string, double> layers = {};  // sparsities of their own
  std::int64_t calibration_samples = 1024, calibration_batch = 64;
  std::vector<double> rates = {};                     // of each weight, found by a search; empty: the scope decides
  std::map<std::string, std::int64_t> widths = {};    // of groups of channels, found by a search
  double begin = 0.0, end = 0.4;                      // of the schedule, as parts of the steps of fine-tuning
  double fraction = 0.2;                              // of the rest, at each pruning of an iterative schedule
  double regrowth_fraction = 0.3;                     // of the living weights, at each turn
  std::int64_t regrowth_every = 100;                  // steps
  double release = 0.0;                               // drop all masks after this part of the steps; 0: never
  std::string preparation = "none";                   // over the steps from begin to end
  double strength = 0.0;                              // of a preparation; 0: strength_of() says
  double preparation_rate = 0.01;                     // at which distributions of random weights learn
  std::string penalty = "none";                       // in every step of fine-tuning
  double penalty_strength = 1e-4, penalty_end = 1.0;  // the end is a part of the steps
  bool permute = false;                               // channels, before 2:4
  std::int64_t rewind = -1;                           // back to the weights after so many steps; -1: never
  std::string sparse_training = "off";
  std::int64_t sparse_batch = 128;  // that measured thresholds of sparse training are for
};

// The words that each choice knows.
const std::vector<std::string>& criteria();
const std::vector<std::string>& group_scores();
const std::vector<std::string>& normalisations();
const std::vector<std::string>& scopes();
const std::vector<std::string>& schedules();
const std::vector<std::string>& regrowths();
const std::vector<std::string>& preparations();
const std::vector<std::string>& penalties();
const std::vector<std::string>& sparse_trainings();

bool has_noise(const std::string& preparation);     // variational, hard-concrete
double strength_of(const PruningOptions& options);  // 10 where none was said, 1 with noise

void add_pruning_options(CLI::App& app, PruningOptions& options);
std::string goal_of(const pruning::Target& target);  // "remove 90 % of the weights", "leave 12000 params"

}  // namespace espalier::apps
