// Training steps of a pruned network, forward to update, with dense products and with those of kept weights alone: what
// sparse training (pruning/sparse_training.h) pays, and from which sparsity on. Both run in one process, taking turns.
//   benchmark_training [--model lenet-300-100] [--batch 128 ...] [--sparsity 0.9 ...] [--optimizer sgd|adam] [--math M]
// Medians of captured steps; each time is labelled with its device, since a figure of the CPU emulation says nothing
// about a GPU.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "apps/commands/named_values.h"
#include "apps/commands/table.h"
#include "core/device/device_info.h"
#include "core/device/graph.h"
#include "core/device/math.h"
#include "core/device/timer.h"
#include "core/tensor/initialise.h"
#include "core/train/adam.h"
#include "core/train/sgd.h"
#include "layers/loss.h"
#include "layers/zoo.h"
#include "pruning/pruner.h"

namespace espalier {
namespace {

using namespace pruning;

struct Options {
  std::string model = "lenet-300-100", optimizer = "sgd";
  std::vector<std::int64_t> batches{128};
  std::vector<double> sparsities{0.9, 0.95, 0.98};
  std::optional<Math> math;
};

std::unique_ptr<Optimizer> make_optimizer(const std::string& kind, std::vector<Parameter*> parameters) {
  if (kind == "adam") return std::make_unique<Adam>(std::move(parameters), AdamOptions{});
  return std::make_unique<Sgd>(std::move(parameters), SgdOptions{.learning_rate = 0.01f, .momentum = 0.9f});
}

// One step of training on the same batch again and again, captured.
class Step {
 public:
  Step(const Options& options, std::int64_t batch, double sparsity, SparseTraining when)
      : model_(zoo::build(options.model, {1, 28, 28})), images_(kaiming_uniform({batch, 1, 28, 28}, 2)) {
    std::vector<std::int32_t> classes;
    for (std::int64_t i = 0; i < batch; ++i) classes.push_back(std::int32_t(i % 10));
    const Tensor labels = Tensor::from({batch}, classes);
    Pruner pruner(model_, {.scope = Scope::local, .sparse_training = {.when = when}});
    pruner.prune_to(sparsity);
    optimizer_ = make_optimizer(options.optimizer, model_.parameters());
    graph_.emplace([&] {
      optimizer_->zero_gradients();
      softmax_cross_entropy(model_(images_), labels).backward();
      optimizer_->step();
    });
    labels_ = labels;
  }
  double median_us() const {
    return benchmark([&] { graph_->launch(); }, {.warmup = 5, .budget_ms = 300}).median_us;
  }

 private:
  Sequential model_;
  Tensor images_, labels_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<Graph> graph_;
};

void measure(const Options& options) {
  apps::Table table({"batch", "pruned", "dense step, µs", "sparse step, µs", "speed-up"});
  for (const std::int64_t batch : options.batches) {
    for (const double sparsity : options.sparsities) {
      const Step dense(options, batch, sparsity, SparseTraining::off),
          sparse(options, batch, sparsity, SparseTraining::on);
      double dense_us = dense.median_us(), sparse_us = sparse.median_us();
      for (int turn = 0; turn < 2; ++turn) {  // what else the machine does hits both
        dense_us = std::min(dense_us, dense.median_us());
        sparse_us = std::min(sparse_us, sparse.median_us());
      }
      table.add({std::to_string(batch), fmt::format("{:g} %", 100 * sparsity), fmt::format("{:.1f}", dense_us),
                 fmt::format("{:.1f}", sparse_us), fmt::format("{:.2f}x", dense_us / sparse_us)});
    }
  }
  fmt::print("{}, {}, dense products: {}, times: {}\n{}", options.model, options.optimizer, to_string(current_math()),
             device_info().name, table.to_markdown());
}

int run(int count, char** arguments) {
  Options options;
  CLI::App app("Training steps of a pruned network, dense against sparse", "benchmark_training");
  app.add_option("--model", options.model, "A model of the zoo, for 28 x 28 images")->capture_default_str();
  app.add_option("--optimizer", options.optimizer, "sgd with momentum, or adam")
      ->check(CLI::IsMember({"sgd", "adam"}))
      ->capture_default_str();
  app.add_option("--batch", options.batches, "Images at a time")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--sparsity", options.sparsities, "Of each layer")->check(CLI::Range(0.0, 0.9999));
  apps::take_names<Math>(
      app.add_option("--math", options.math,
                     "Whose dense products: ours (handwritten) or the vendor's; default: the faster"),
      {{"handwritten", Math::handwritten}, {"vendor", Math::vendor}});
  CLI11_PARSE(app, count, arguments);
  try {
    const MathScope math_scope(options.math.value_or(current_math()));
    measure(options);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "benchmark_training: {}\n", error.what());
    return 1;
  }
}

}  // namespace
}  // namespace espalier

int main(int argc, char** argv) { return espalier::run(argc, argv); }
