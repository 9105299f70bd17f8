// Models as files: what was saved computes the same, and a file that is no model says why.
#include "layers/model_file.h"

#include <doctest/doctest.h>

#include <limits>
#include <span>

#include "layers/evaluate.h"
#include "tests/support/small_run.h"
#include "tests/support/temporary_folder.h"

using namespace espalier;
using espalier::test::SmallRun;
using espalier::test::TemporaryFolder;

TEST_CASE("model file: a trained and pruned model comes back with masks, buffers and normalisation") {
  const TemporaryFolder folder;
  SmallRun run("adam", 1);
  run.trainer().run();
  save_model(folder / "model", run.model(), run.data().normalisation, {{"author", "me"}});
  const SavedModel saved = load_model(folder / "model");
  CHECK(saved.normalisation == run.data().normalisation);
  CHECK(saved.notes.at("author") == "me");
  const Metrics expected = evaluate(run.model(), run.data().test), metrics = evaluate(*saved.module, run.data().test);
  CHECK(metrics.confusion == expected.confusion);
  CHECK(metrics.loss == expected.loss);
  const auto before = run.model().parameters(), after = saved.module->parameters();
  REQUIRE(before.size() == after.size());
  for (std::size_t i = 0; i < before.size(); ++i) {
    CHECK(after[i]->value.value().to_host_bytes() == before[i]->value.value().to_host_bytes());
    REQUIRE((after[i]->mask() != nullptr) == (before[i]->mask() != nullptr));
    if (before[i]->mask()) CHECK(after[i]->mask()->keep.to_host_bytes() == before[i]->mask()->keep.to_host_bytes());
  }
}

TEST_CASE("model file: a trainer's checkpoint with model notes is one too") {
  const TemporaryFolder folder;
  const Sequential described = test::small_model();
  SmallRun run(
      "sgd", 1,
      {.checkpoint_file = folder / "checkpoint", .notes = model_notes(described, test::small_data().normalisation)});
  run.trainer().run();
  const SavedModel saved = load_model(folder / "checkpoint");
  CHECK(saved.step == SmallRun::kSteps);
  CHECK(evaluate(*saved.module, run.data().test).confusion == evaluate(run.model(), run.data().test).confusion);
}

TEST_CASE("model file: resuming with another architecture is refused") {
  const TemporaryFolder folder;
  const data::Normalisation normalisation = test::small_data().normalisation;
  SmallRun saved("sgd", 1, {.notes = model_notes(test::small_model(), normalisation)});
  saved.trainer().save(folder / "file");
  SmallRun other("sgd", 1, {.notes = model_notes(Sequential(Relu()), normalisation)});
  CHECK_THROWS_WITH_AS(other.trainer().resume(folder / "file"), doctest::Contains("is of the model"), CheckpointError);
}

TEST_CASE("model file: weights that are no numbers are refused by name and place") {
  const TemporaryFolder folder;
  Sequential model = test::small_model();
  Parameter& weight = *model.parameters()[0];
  std::vector<float> values = weight.value.value().to_host();
  values[4] = std::numeric_limits<float>::quiet_NaN();
  weight.value.value().upload(std::as_bytes(std::span<const float>(values)));
  save_model(folder / "model", model, {});
  const std::string expected = weight.name + " holds nan at element 4";
  CHECK_THROWS_WITH_AS(load_model(folder / "model"), doctest::Contains(expected.c_str()), CheckpointError);
}

TEST_CASE("model file: what cannot be rebuilt says what is missing") {
  const TemporaryFolder folder;
  SmallRun run("sgd", 1);
  run.trainer().save(folder / "bare");
  CHECK_THROWS_WITH_AS(load_model(folder / "bare"), doctest::Contains("does not tell its normalisation"),
                       CheckpointError);
  const auto refused = [&](const char* key, const char* text, const char* why) {
    save_model(folder / "model", run.model(), {});
    Safetensors content = read_safetensors(folder / "model");
    content.metadata[std::string("note.") + key] = text;
    write_safetensors(folder / "model", content);
    CHECK_THROWS_WITH_AS(load_model(folder / "model"), doctest::Contains(why), CheckpointError);
  };
  refused("normalisation", "{}", "normalisation cannot be used");
  refused("architecture", "{\"kind\":\"wire\"}", "no layer called");
  refused("architecture", "{\"kind\":\"relu\"}", "has a tensor");
}
