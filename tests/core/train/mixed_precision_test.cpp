// Whole training runs in tf32, bf16 and fp16: captured, resumed, pruned, and as good as in fp32.
#include <doctest/doctest.h>

#include <bit>

#include "tests/support/narrow.h"
#include "tests/support/small_run.h"
#include "tests/support/temporary_folder.h"

using namespace espalier;
using espalier::test::SmallRun;
using espalier::test::TemporaryFolder;

namespace {

// fp16 that begins far too high and grows fast: it overflows at the start and again later.
TrainerOptions restless(Precision precision) {
  return {.precision = precision, .loss_scale = {.initial = 0x1p22f, .growth_interval = 2}};
}

LossScaleStatus scale_of(SmallRun& run) {
  const LossScaler* const scaler = run.optimizer().loss_scaler();
  return scaler ? scaler->status() : LossScaleStatus{};
}

std::int64_t masked_that_are_not_zero(Sequential& model) {
  std::int64_t wrong = 0;
  for (Parameter* parameter : model.parameters()) {
    if (!parameter->mask()) continue;
    const auto keep = parameter->mask()->keep.to_host_as<std::uint8_t>();
    const auto values = parameter->value.value().to_host();
    for (std::size_t i = 0; i < keep.size(); ++i) wrong += !keep[i] && std::bit_cast<std::uint32_t>(values[i]) != 0u;
  }
  return wrong;
}

}  // namespace

TEST_CASE("mixed precision: captured steps leave the same bits as eager steps, skipped ones among them") {
  for (const Precision precision : test::reduced_precisions()) {
    for (const char* kind : {"sgd", "adam"}) {
      INFO(to_string(precision), ", ", kind);
      TrainerOptions options = restless(precision);
      SmallRun captured(kind, 1, options);
      options.execution = Execution::eager;
      SmallRun eager(kind, 1, options);
      captured.trainer().run();
      eager.trainer().run();
      CHECK(captured.bits() == eager.bits());
      CHECK(scale_of(captured) == scale_of(eager));
      CHECK(captured.trainer().step() == SmallRun::kSteps);
      CHECK((scale_of(captured).skipped_steps > 1) == (precision == Precision::fp16));
      CHECK(captured.optimizer().steps() == SmallRun::kSteps - scale_of(captured).skipped_steps);
      CHECK(masked_that_are_not_zero(captured.model()) == 0);
    }
  }
}

TEST_CASE("mixed precision: a run resumed after any step ends with the bits of an unbroken one, loss scale and all") {
  const TemporaryFolder folder;
  for (const Precision precision : test::reduced_precisions()) {
    SmallRun* running = nullptr;
    TrainerOptions options = restless(precision);
    options.after_step = [&](std::int64_t step) {
      if (step == SmallRun::kPrunedAfter) test::prune_every_third(running->model().parameters());
      running->trainer().save(folder / std::to_string(step));
      CHECK(masked_that_are_not_zero(running->model()) == 0);
    };
    SmallRun unbroken("adam", 1, options);
    running = &unbroken;
    unbroken.trainer().run();
    for (const int step : {1, 3, 4, 7}) {
      INFO(to_string(precision), ", step ", step);
      SmallRun resumed("adam", 99, restless(precision));
      resumed.trainer().resume(folder / std::to_string(step));
      resumed.trainer().run();
      CHECK(resumed.bits() == unbroken.bits());
      CHECK(scale_of(resumed) == scale_of(unbroken));
    }
  }
}

TEST_CASE("mixed precision: a run can only be resumed in its own precision, and the refusal says which") {
  const TemporaryFolder folder;
  SmallRun full("sgd", 1);
  full.trainer().save(folder / "fp32");
  for (const Precision precision : test::reduced_precisions()) {
    SmallRun run("sgd", 1, {.precision = precision});
    const auto before = run.bits();
    CHECK_THROWS_WITH_AS(run.trainer().resume(folder / "fp32"), doctest::Contains("was trained in fp32"),
                         CheckpointError);
    CHECK(run.bits() == before);
    run.trainer().save(folder / "reduced");
    CHECK_THROWS_WITH_AS(full.trainer().resume(folder / "reduced"),
                         doctest::Contains(std::string(to_string(precision)).c_str()), CheckpointError);
    if (precision != Precision::fp16) continue;
    Safetensors file = read_safetensors(folder / "reduced");
    std::string& text = file.metadata["espalier.training"];
    text.replace(text.find("65536"), 5, "-6553");
    write_safetensors(folder / "damaged", file);
    CHECK_THROWS_WITH_AS(run.trainer().resume(folder / "damaged"), doctest::Contains("loss scale"), CheckpointError);
    CHECK(run.bits() == before);
  }
}

TEST_CASE("mixed precision: a small network learns the synthetic digits as well as in fp32") {
  const auto data = data::synthetic({.train = 480, .test = 100, .height = 12, .width = 12, .noise = 0.05});
  const auto last_loss = [&](Precision precision) {
    Sequential model(Conv2d(1, 8, {.seed = 1}), Relu(), MaxPool2d(2), Flatten(), Dense(200, 10, {.seed = 2}));
    DataLoader loader(data.train, {.batch = 32});
    Adam optimizer(model.parameters(), {.learning_rate = 0.01f});
    Trainer trainer(classifier(model), optimizer, loader,
                    {.epochs = 3, .precision = precision, .progress = Progress::none});
    return trainer.run().back().metrics.loss;
  };
  const double full = last_loss(Precision::fp32);
  for (const Precision precision : test::reduced_precisions()) {
    INFO(to_string(precision));
    CHECK(last_loss(precision) == doctest::Approx(full).epsilon(0.05));
  }
}
