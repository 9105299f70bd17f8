// One step of a plan: all its implementations measured on the device at hand (or modelled for a GPU that is not here),
// and one chosen, with the reason.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/device/gpu_model.h"
#include "core/device/timer.h"
#include "pruning/object_cache.h"
#include "pruning/plan_cache.h"
#include "pruning/product_work.h"

namespace espalier::pruning {

struct MeasuredImplementation {
  std::string format, library;
  std::optional<double> us = std::nullopt;        // median, or modelled; none: not eligible
  std::string note = {};                          // why it was not chosen
  std::int64_t weight_bytes = 0;                  // that it reads of its weight
  std::int64_t bytes = 0;                         // with x, bias and y
  int launches = 0;                               // nodes of the graph
  Timing timing = {};                             // of a measured one: that of `us`
  std::optional<double> limit_us = std::nullopt;  // the model's, in one launch; none: no datasheet of this device
};

struct PlanStep {
  std::string layer;                             // "dense_2", or what a step that is no product does: "max_pool2d"
  std::string format = {}, implementation = {};  // "csr", "handwritten"; "as recorded" for a step that is no product
  double us = 0;
  std::string reason = {};
  std::string takes_in = {};                            // "max_pool2d" where the product does the pool behind it too
  double sparsity = 0;                                  // of the weight
  std::int64_t weight_bytes = 0;                        // that the product reads of its weight
  std::vector<MeasuredImplementation> candidates = {};  // in the order asked for
  std::optional<std::size_t> chosen = std::nullopt;     // of the candidates
  std::int64_t bytes = 0;                               // all that it reads and writes
  int launches = 0;
  ProductSize size = {};  // of a product; empty where the step is the whole network (fused_plan.h) or no product
  std::int64_t nonzeros = 0;
  std::int64_t macs = 0, macs_kept = 0;  // of the batch, as if dense and with the weights that are left
  bool whole_network = false;
  Timing timing = {};
  std::optional<double> limit_us = std::nullopt;  // of the chosen way: the model's, in one launch
};

// What is timed, in words, and how to run it.
struct TimedWork {
  std::string layer, format, library;  // layer "network": a whole plan; "nothing": the least that a launch takes
  std::function<void()> run;
};
using Timer = std::function<Timing(const TimedWork&, const BenchmarkOptions&)>;

enum class Selection {
  fastest,
  first_format,  // of the candidates in their order the first that is eligible, fast or not, and no other is timed: to
                 // compare formats
};

struct CompileOptions {
  std::vector<Candidate> candidates = {dense(), csr(), block_csr(8, 8), two_four()};
  BenchmarkOptions timing = {.warmup = 1, .min_repeats = 3, .max_repeats = 200, .budget_ms = 10};
  int rounds = 2;  // each implementation is timed so often, in turns, and its best median counts: a slow moment of the
                   // machine then decides nothing
  PlanCache cache = {};           // of measured times; by default none is kept
  ObjectCache objects = {};       // of compiled_network()'s code; by default none is kept
  const GpuModel* gpu = nullptr;  // model the times of this one instead of measuring
  Selection selection = Selection::fastest;
  Timer timer = {};                               // in place of benchmark(), for tests: no clock decides then
  std::optional<double> floor_us = std::nullopt;  // of a launch; none: measured, or the model's
};

struct Choice {
  PlanStep step;
  Implementation implementation;
  std::optional<Implementation> fastest_dense = std::nullopt;  // of the candidates, where there is one
};

// Measures every eligible implementation of a product. A sparse one must beat dense by 2 %: below that it is noise.
// Where no candidate is eligible, the call stays as it was recorded.
Choice choose(const RecordedCall& product, const CompileOptions& options);

// The same for any other call: nothing to choose, only the time to know.
Choice keep(const RecordedCall& call, const CompileOptions& options);

// The choice changed to its fastest dense implementation, for the reason given.
Choice made_dense(const Choice& choice, const std::string& reason);

// The best of `rounds` medians; each of `works` has its turn in each round.
std::vector<Timing> time_in_turns(const std::vector<TimedWork>& works, const CompileOptions& options);

// The GPU whose datasheet belongs to the times: the one that is modelled, or the device at hand if it is known.
const GpuModel* datasheet(const CompileOptions& options);

// What a graph of one kernel with next to nothing to do takes, on the device or in the model.
double launch_floor_us(const CompileOptions& options);

}  // namespace espalier::pruning
