// The trainer: captured steps equal eager ones, it learns, reports, follows its schedule and stops on a broken loss.
#include "core/train/trainer.h"

#include <doctest/doctest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/require.h"
#include "layers/evaluate.h"
#include "tests/support/small_run.h"
#include "tests/support/temporary_folder.h"

using namespace espalier;
using espalier::test::SmallRun;

TEST_CASE("trainer: captured steps leave the same bits as eager steps, through a mask and a smaller last batch") {
  for (const char* kind : {"sgd", "adam"}) {
    SmallRun captured(kind, 1, {.execution = Execution::captured}), eager(kind, 1, {.execution = Execution::eager});
    captured.trainer().run();
    eager.trainer().run();
    CHECK(captured.trainer().step() == SmallRun::kSteps);
    CHECK(captured.bits() == eager.bits());
  }
}

TEST_CASE("trainer: a small network learns the synthetic digits") {
  const auto data = data::synthetic({.train = 480, .test = 100, .height = 12, .width = 12, .noise = 0.05});
  Sequential model(Flatten(), Dense(144, 32, {.seed = 1}), Relu(), Dense(32, 10, {.seed = 2}));
  DataLoader loader(data.train, {.batch = 32});
  Adam optimizer(model.parameters(), {.learning_rate = 0.01f});
  Trainer trainer(classifier(model), optimizer, loader, {.epochs = 5, .progress = Progress::none});
  const auto reports = trainer.run();
  CHECK(reports.size() == 5);
  CHECK(reports.back().metrics.loss < 0.5 * reports.front().metrics.loss);
  CHECK(reports.back().metrics.samples() == 480);
  CHECK(reports.back().step == 75);
  CHECK(reports.back().images_per_second > 0);
  CHECK(evaluate(model, data.test).accuracy() > 0.7);
}

TEST_CASE("trainer: the schedule and the callbacks see every step, the log has a line for each report and epoch") {
  const test::TemporaryFolder folder;
  std::vector<std::int64_t> steps, asked;
  std::vector<EpochReport> epochs;
  SmallRun run("sgd", 1,
               {.schedule =
                    [&](std::int64_t step) {
                      asked.push_back(step);
                      return 0.5f / float(step + 10);
                    },
                .report_every = 3,
                .metrics_file = folder / "metrics.jsonl",
                .after_step = [&](std::int64_t step) { steps.push_back(step); },
                .after_epoch = [&](const EpochReport& report) { epochs.push_back(report); }});
  run.trainer().run();
  CHECK(steps == std::vector<std::int64_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  CHECK(std::set<std::int64_t>(asked.begin(), asked.end()) == std::set<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  CHECK(run.optimizer().learning_rate() == 0.5f / 19);
  REQUIRE(epochs.size() == 2);
  CHECK(epochs[1].epoch == 2);
  CHECK(epochs[1].step == 10);

  std::ifstream file(folder / "metrics.jsonl");
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
  std::vector<std::string> events;
  for (const auto& line : lines) events.push_back(line.at("event").get<std::string>() + " " + line.at("step").dump());
  CHECK(events == std::vector<std::string>{"step 3", "epoch 5", "step 6", "step 9", "epoch 10"});
  CHECK(lines[4].at("loss").get<double>() == doctest::Approx(epochs[1].metrics.loss));
  CHECK(lines[4].at("accuracy").get<double>() == doctest::Approx(epochs[1].metrics.accuracy()));
  CHECK(lines[4].at("epoch") == 2);
}

TEST_CASE("trainer: a loss that is no number stops the run and spares the last checkpoint") {
  const test::TemporaryFolder folder;
  SmallRun run("sgd", 1,
               {.schedule = [](std::int64_t step) { return step < 6 ? 0.01f : 3e38f; },
                .report_every = 4,
                .checkpoint_file = folder / "checkpoint"});
  CHECK_THROWS_WITH_AS(run.trainer().run(), doctest::Contains("lower the learning rate"), DivergedError);
  SmallRun again("sgd", 1);
  again.trainer().resume(folder / "checkpoint");
  CHECK(again.trainer().step() == 5);
}

TEST_CASE("trainer: masked weights are exactly zero after every captured and eager step") {
  for (const Execution execution : {Execution::captured, Execution::eager}) {
    Sequential* model = nullptr;
    std::int64_t zeros = 0;
    SmallRun run("adam", 1,
                 {.after_step =
                      [&](std::int64_t step) {
                        if (step == SmallRun::kPrunedAfter) test::prune_every_third(model->parameters());
                        if (step < SmallRun::kPrunedAfter) return;
                        for (Parameter* parameter : model->parameters()) {
                          if (!parameter->mask()) continue;
                          const auto keep = parameter->mask()->keep.to_host_as<std::uint8_t>();
                          const auto bits = parameter->value.value().to_host_bytes();
                          for (std::size_t i = 0; i < keep.size(); ++i) {
                            std::uint32_t word = 0;
                            std::memcpy(&word, &bits[4 * i], 4);
                            if (!keep[i]) CHECK(word == 0u);
                            zeros += word == 0u;
                          }
                        }
                      },
                  .execution = execution});
    model = &run.model();
    run.trainer().run();
    CHECK(zeros == 7 * (9 + 250));
  }
}

TEST_CASE("trainer: impossible settings are refused") {
  CHECK_THROWS_AS(SmallRun("sgd", 1, {.report_every = 0}), InvalidArgument);
  SmallRun run("sgd", 1);
  CHECK_THROWS_AS(Trainer({}, run.optimizer(), run.loader()), InvalidArgument);
}
