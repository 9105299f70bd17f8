// Every way of pruning while training: no weight under a mask is ever nonzero, and a run that is stopped and resumed
// ends with the bits of one that was not.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <functional>

#include "kernels/require.h"
#include "pruning/channel_pruning.h"
#include "pruning/pruner.h"
#include "pruning/shrink.h"
#include "tests/support/small_run.h"
#include "tests/support/temporary_folder.h"

namespace espalier::pruning {
namespace {

// Weights under a mask that are not bit zero.
std::int64_t astray_in(Module& model) {
  std::int64_t astray = 0;
  for (const Parameter* parameter : model.parameters()) {
    if (!parameter->mask()) continue;
    const auto keep = parameter->mask()->keep.to_host_as<std::uint8_t>();
    const auto bytes = parameter->value.value().to_host_bytes();
    for (std::size_t i = 0; i < keep.size(); ++i) {
      std::uint32_t bits = 0;
      std::memcpy(&bits, &bytes[4 * i], 4);
      astray += !keep[i] && bits != 0;
    }
  }
  return astray;
}

std::int64_t masked_in(Module& model) {
  std::int64_t masked = 0;
  for (const Parameter* parameter : model.parameters()) {
    if (parameter->mask()) masked += parameter->size() - parameter->mask()->kept();
  }
  return masked;
}

// A data set, a model, its optimizer, and a pruner whose options may refer to all of them.
struct PrunedRun {
  static constexpr int kSteps = 20;
  static constexpr std::int64_t kSaved[] = {1, 2, 5, 6, 9, 14};  // steps
  using MakeOptions = std::function<PrunerOptions(PrunedRun&)>;

  data::ImageData data = test::small_data();
  Sequential model;
  DataLoader loader{data.train, {.batch = 14, .seed = 7}};
  std::unique_ptr<Optimizer> optimizer;
  Movement movement_of_run;
  Calibration calibration;
  Pruner pruner;
  std::int64_t broken = 0;       // weights under a mask that were not bit zero, over all steps
  std::int64_t most_masked = 0;  // weights under a mask, after any step
  Trainer trainer;

  PrunedRun(const std::string& kind, std::uint64_t seed, const MakeOptions& options,
            const std::filesystem::path& folder = {}, Execution execution = Execution::captured)
      : model(test::small_model(seed)),
        optimizer(test::make_optimizer(kind, model.parameters())),
        movement_of_run(model),
        calibration(model, data.train, {.samples = 20, .batch = 10}),
        pruner(model, options(*this)),
        trainer(classifier(model), *optimizer, loader,
                {.epochs = 4,
                 .schedule = learning_rate::one_cycle({.peak = 0.02f, .steps = kSteps}),
                 .after_update = [this] { pruner.prepare(optimizer->rate_on_device()); },
                 .after_step =
                     [this, folder](std::int64_t step) {
                       pruner.step();
                       broken += astray_in(model);
                       most_masked = std::max(most_masked, masked_in(model));
                       const bool looked_at = std::count(std::begin(kSaved), std::end(kSaved), step) > 0;
                       if (looked_at && !folder.empty()) trainer.save(folder / std::to_string(step));
                     },
                 .companion = &pruner,
                 .execution = execution,
                 .progress = Progress::none}) {}

  std::vector<std::vector<std::byte>> bits() {
    std::vector<std::vector<std::byte>> all;
    for (const Parameter* parameter : model.parameters()) {
      all.push_back(parameter->value.value().to_host_bytes());
      all.push_back(parameter->mask() ? parameter->mask()->keep.to_host_bytes() : std::vector<std::byte>{});
    }
    for (Buffer* buffer : model.buffers()) all.push_back(buffer->value.to_host_bytes());
    for (Buffer* buffer : optimizer->state()) all.push_back(buffer->value.to_host_bytes());
    for (Buffer* buffer : pruner.state()) all.push_back(buffer->value.to_host_bytes());
    return all;
  }
};

const Schedule kRamp = cubic({.to = 0.8, .begin = 1, .end = 12, .every = 3});
const SparseTrainingOptions kSparse{.when = SparseTraining::on, .threshold = 0.5, .least_window = 1};

struct Way {
  std::string name;
  PrunedRun::MakeOptions options;
};
const std::vector<Way> kWays{
    {"cubic, magnitude", [](PrunedRun&) { return PrunerOptions{.schedule = kRamp}; }},
    {"linear, taylor, lamp",
     [](PrunedRun& run) {
       return PrunerOptions{.criterion = taylor(run.calibration),
                            .schedule = linear({.to = 0.7, .begin = 2, .end = 14, .every = 4}),
                            .normalisation = ScoreNormalisation::lamp,
                            .calibration = &run.calibration};
     }},
    {"movement",
     [](PrunedRun& run) {
       return PrunerOptions{
           .criterion = movement(run.movement_of_run), .schedule = kRamp, .movement = &run.movement_of_run};
     }},
    {"lottery ticket",
     [](PrunedRun& run) {
       return PrunerOptions{.schedule = iterative({.fraction = 0.3, .to = 0.8, .begin = 5, .every = 4}),
                            .rewind = Rewind{.to = 2, .optimizer = run.optimizer.get()}};
     }},
    {"dense-sparse-dense",
     [](PrunedRun&) { return PrunerOptions{.scope = Scope::local, .schedule = one_shot(0.5, 4), .release_at = 13}; }},
    {"rigl",
     [](PrunedRun&) {
       return PrunerOptions{.criterion = random(3),
                            .scope = Scope::erdos_renyi_kernel,
                            .schedule = one_shot(0.7),
                            .regrowth = Regrowth{.begin = 0, .end = 18, .every = 3}};
     }},
    {"set",
     [](PrunedRun&) {
       return PrunerOptions{.criterion = random(3),
                            .scope = Scope::erdos_renyi,
                            .schedule = one_shot(0.7),
                            .regrowth = Regrowth{.growth = grow_at_random(5), .begin = 0, .end = 18, .every = 2}};
     }},
    {"splicing",
     [](PrunedRun&) {
       return PrunerOptions{.schedule = kRamp, .splicing = Splicing{.rate = 0.05f, .begin = 0, .end = 19, .every = 2}};
     }},
    {"l1 beside magnitude",
     [](PrunedRun& run) {
       return PrunerOptions{.schedule = kRamp, .penalty = l1_penalty(weights_of(run.model), 0.05f)};
     }},
    {"l1 that ends",
     [](PrunedRun& run) {
       return PrunerOptions{.schedule = kRamp, .penalty = l1_penalty(weights_of(run.model), 0.05f), .penalty_end = 9};
     }},
    {"growing penalty",
     [](PrunedRun&) {
       return PrunerOptions{.schedule = one_shot(0.6, 3),
                            .preparation = PreparationOptions{.strength = 30, .steps = 12, .every = 2}};
     }},
    {"admm, taylor",
     [](PrunedRun& run) {
       return PrunerOptions{
           .criterion = taylor(run.calibration),
           .schedule = one_shot(0.6, 2),
           .calibration = &run.calibration,
           .preparation = PreparationOptions{.kind = PreparationKind::admm, .strength = 30, .steps = 11, .every = 3}};
     }},
    {"variational",
     [](PrunedRun&) {
       return PrunerOptions{.schedule = one_shot(0.6, 3),
                            .preparation = PreparationOptions{.kind = PreparationKind::variational,
                                                              .strength = 1,
                                                              .steps = 12,
                                                              .every = 2,
                                                              .images = 1000,
                                                              .rate = 0.3f,
                                                              .seed = 4}};
     }},
    {"hard concrete",
     [](PrunedRun&) {
       return PrunerOptions{.schedule = one_shot(0.6, 3),
                            .preparation = PreparationOptions{.kind = PreparationKind::hard_concrete,
                                                              .strength = 1,
                                                              .steps = 11,
                                                              .every = 3,
                                                              .images = 1000,
                                                              .rate = 0.3f}};
     }},
    {"hard concrete, filters",
     [](PrunedRun&) {
       return PrunerOptions{.pattern = filters(),
                            .schedule = one_shot(0.3, 2),
                            .ignore = {"dense_1.weight"},
                            .preparation = PreparationOptions{.kind = PreparationKind::hard_concrete,
                                                              .strength = 1,
                                                              .steps = 9,
                                                              .every = 3,
                                                              .images = 1000,
                                                              .groups = GateGroups::filters,
                                                              .rate = 0.3f}};
     }},
    {"sparse", [](PrunedRun&) { return PrunerOptions{.schedule = kRamp, .sparse_training = kSparse}; }},
    {"sparse rigl",
     [](PrunedRun&) {
       return PrunerOptions{.criterion = random(3),
                            .scope = Scope::local,
                            .schedule = one_shot(0.7),
                            .regrowth = Regrowth{.begin = 0, .end = 18, .every = 3},
                            .sparse_training = kSparse};
     }},
    {"sparse set",
     [](PrunedRun&) {
       return PrunerOptions{
           .criterion = random(3),
           .scope = Scope::local,
           .schedule = one_shot(0.7),
           .regrowth =
               Regrowth{.growth = grow_at_random(5), .begin = 0, .end = 18, .every = 2, .reads_gradients = false},
           .sparse_training = kSparse};
     }},
    {"l1, sparse",
     [](PrunedRun& run) {
       return PrunerOptions{
           .schedule = kRamp, .penalty = l1_penalty(weights_of(run.model), 0.05f), .sparse_training = kSparse};
     }},
    {"group lasso, sparse rigl",
     [](PrunedRun& run) {
       return PrunerOptions{.schedule = one_shot(0.7),
                            .regrowth = Regrowth{.begin = 0, .end = 18, .every = 3},
                            .penalty = group_lasso(weights_of(run.model), 0.05f, LassoGroups::channels),
                            .sparse_training = kSparse};
     }},
    {"l2, splicing",
     [](PrunedRun& run) {
       return PrunerOptions{.schedule = kRamp,
                            .splicing = Splicing{.rate = 0.05f, .begin = 0, .end = 19, .every = 2},
                            .penalty = l2_penalty(weights_of(run.model), 0.5f)};
     }},
    {"slimming",
     [](PrunedRun& run) { return PrunerOptions{.schedule = kRamp, .penalty = batch_norm_penalty(run.model, 0.5f)}; }},
    {"admm, then sparse",
     [](PrunedRun&) {
       return PrunerOptions{
           .schedule = one_shot(0.6, 1),
           .preparation = PreparationOptions{.kind = PreparationKind::admm, .strength = 30, .steps = 6, .every = 2},
           .sparse_training = kSparse};
     }},
    {"variational, l1, then sparse",
     [](PrunedRun& run) {
       return PrunerOptions{.schedule = one_shot(0.6, 1),
                            .preparation = PreparationOptions{.kind = PreparationKind::variational,
                                                              .strength = 1,
                                                              .steps = 7,
                                                              .every = 2,
                                                              .images = 1000,
                                                              .rate = 0.3f},
                            .penalty = l1_penalty(weights_of(run.model), 0.05f),
                            .sparse_training = kSparse};
     }},
    {"hard concrete of channels, then sparse set",
     [](PrunedRun&) {
       return PrunerOptions{
           .schedule = one_shot(0.6, 1),
           .regrowth =
               Regrowth{.growth = grow_at_random(5), .begin = 8, .end = 18, .every = 2, .reads_gradients = false},
           .preparation = PreparationOptions{.kind = PreparationKind::hard_concrete,
                                             .strength = 1,
                                             .steps = 6,
                                             .every = 2,
                                             .images = 1000,
                                             .groups = GateGroups::channels,
                                             .rate = 0.3f},
           .sparse_training = kSparse};
     }},
    {"dense-sparse-dense, sparse",
     [](PrunedRun&) {
       return PrunerOptions{
           .scope = Scope::local, .schedule = one_shot(0.7, 4), .sparse_training = kSparse, .release_at = 13};
     }},
    {"2:5, sparse",
     [](PrunedRun&) {
       return PrunerOptions{
           .pattern = n_of_m(2, 5, RaggedRows::shorter_run), .schedule = one_shot(0.6, 4), .sparse_training = kSparse};
     }},
    {"whole channels",
     [](PrunedRun& run) {
       return PrunerOptions{.pattern = channel_pattern(run.model, {1, 1, 12, 12}), .schedule = one_shot(0.4, 3)};
     }},
    {"filters",
     [](PrunedRun&) {
       return PrunerOptions{.pattern = filters(), .schedule = one_shot(0.4, 3), .ignore = {"dense_1.weight"}};
     }},
};

}  // namespace

TEST_CASE("pruned runs: masked weights are bit zero after every step, in every optimizer and way of pruning") {
  for (const Way& way : kWays) {
    for (const char* kind : {"sgd", "adam", "adamw"}) {
      CAPTURE(way.name);
      CAPTURE(kind);
      PrunedRun run(kind, 1, way.options);
      run.trainer.run();
      CHECK(run.pruner.steps() == PrunedRun::kSteps);
      CHECK(run.broken == 0);
      CHECK(run.most_masked >= 9);  // a filter at least
    }
  }
}

TEST_CASE("pruned runs: what shrinking leaves keeps its masks, and they their zeros, while it trains on") {
  for (const char* kind : {"sgd", "adam", "adamw"}) {
    CAPTURE(kind);
    PrunedRun run(kind, 1, [](PrunedRun& of) {
      return PrunerOptions{.pattern = channel_pattern(of.model, {1, 1, 12, 12}), .schedule = one_shot(0.4, 3)};
    });
    Pruner weights(run.model, {.schedule = {}});
    run.trainer.run();
    weights.prune_to(0.7);
    const Shrunk small = shrink(run.model, {1, 1, 12, 12});
    CHECK(small.parameters_after < small.parameters_before);
    const auto optimizer = test::make_optimizer(kind, small.model->parameters());
    move_state(small, *run.optimizer, *optimizer);
    CHECK(astray_in(*small.model) == 0);
    std::int64_t masked = 0;
    for (const Parameter* parameter : small.model->parameters()) masked += parameter->mask() != nullptr;
    CHECK(masked == 2);
    Trainer(classifier(*small.model), *optimizer, run.loader, {.epochs = 2, .progress = Progress::none}).run();
    CHECK(astray_in(*small.model) == 0);
  }
}

TEST_CASE("pruned runs: captured steps leave the bits of eager ones") {
  for (const Way& way : kWays) {
    CAPTURE(way.name);
    PrunedRun captured("adam", 1, way.options), eager("adam", 1, way.options, {}, Execution::eager);
    captured.trainer.run();
    eager.trainer.run();
    CHECK(captured.bits() == eager.bits());
  }
}

TEST_CASE("pruned runs: resumed after any step they end with the bits of an unbroken one") {
  for (const Way& way : kWays) {
    const test::TemporaryFolder folder;
    PrunedRun unbroken("adam", 1, way.options, folder.path());
    unbroken.trainer.run();
    const auto expected = unbroken.bits();
    for (const int step : {1, 5, 9, 14}) {
      CAPTURE(way.name);
      CAPTURE(step);
      PrunedRun resumed("adam", 99, way.options);
      resumed.trainer.resume(folder / std::to_string(step));
      CHECK(resumed.pruner.steps() == step);
      resumed.trainer.run();
      CHECK(resumed.broken == 0);
      CHECK(resumed.bits() == expected);
    }
  }
}

TEST_CASE("pruned runs: the mask of a lottery ticket sits on the weights of the step it goes back to") {
  const test::TemporaryFolder folder;
  PrunedRun run("sgd", 1, kWays[3].options, folder.path());
  run.trainer.run();
  const auto weight = [&](int step) {
    return read_safetensors(folder / std::to_string(step)).tensors.at("dense_1.weight");
  };
  const auto early = weight(2).bytes, ticket = weight(6).bytes;  // the pruning at step 5 follows the sixth update
  std::int64_t same = 0, zero = 0;
  for (std::size_t i = 0; i < early.size(); i += 4) {
    same += std::memcmp(&early[i], &ticket[i], 4) == 0;
    zero += std::memcmp("\0\0\0\0", &ticket[i], 4) == 0;
  }
  CHECK(same + zero >= std::int64_t(early.size() / 4));
  CHECK(zero < std::int64_t(early.size() / 4));
}

TEST_CASE("pruned runs: another rule, or none, is refused") {
  const test::TemporaryFolder folder;
  const auto ruled = [](const char* rule) {
    return [rule](PrunedRun&) { return PrunerOptions{.schedule = kRamp, .rule = rule}; };
  };
  PrunedRun run("sgd", 1, ruled("magnitude to 80 %"), folder.path());
  run.trainer.train_step();
  const auto error_of = [&](Trainer& trainer, const std::filesystem::path& file) -> std::string {
    try {
      trainer.resume(file);
    } catch (const CheckpointError& error) {
      return error.what();
    }
    return "";
  };
  PrunedRun other("sgd", 1, ruled("random to 90 %"));
  CHECK(error_of(other.trainer, folder / "1").find("by the rule \"magnitude to 80 %\"") != std::string::npos);
  test::SmallRun bare("sgd", 1);
  bare.trainer().save(folder / "bare");
  CHECK(error_of(other.trainer, folder / "bare").find("rides along") != std::string::npos);
  Trainer without(classifier(other.model), *other.optimizer, other.loader, {.progress = Progress::none});
  CHECK(error_of(without, folder / "1").find("rode along") != std::string::npos);
}

}  // namespace espalier::pruning
