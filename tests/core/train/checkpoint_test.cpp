// Checkpoints: a resumed run equals an unbroken one bit for bit, and a file that does not fit changes nothing.
#include "core/train/checkpoint.h"

#include <doctest/doctest.h>

#include <bit>
#include <fstream>
#include <iterator>
#include <random>

#include "core/train/atomic_file.h"
#include "tests/support/small_run.h"
#include "tests/support/temporary_folder.h"

using namespace espalier;
using espalier::test::SmallRun;
using espalier::test::TemporaryFolder;

namespace {

std::string error_of(SmallRun& run, const std::filesystem::path& file) {
  const auto before = run.bits();
  const auto position = run.loader().position();
  try {
    run.trainer().resume(file);
  } catch (const CheckpointError& error) {
    CHECK(run.bits() == before);
    CHECK(run.loader().position() == position);
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("checkpoint: a run resumed after any step ends with the bits of an unbroken one") {
  const TemporaryFolder folder;
  for (const std::string kind : {"sgd", "adam"}) {
    std::vector<int> saved;
    SmallRun* running = nullptr;
    SmallRun unbroken(kind, 1, {.after_step = [&](std::int64_t step) {
                        if (step == SmallRun::kPrunedAfter) {
                          test::prune_every_third(running->model().parameters());
                        }
                        running->trainer().save(folder / std::to_string(step));
                      }});
    running = &unbroken;
    unbroken.trainer().run();
    const auto expected = unbroken.bits();
    for (const int step : {1, 4, 5, 7}) {
      CAPTURE(kind);
      CAPTURE(step);
      SmallRun resumed(kind, 99);  // other first weights: all must come from the file
      resumed.trainer().resume(folder / std::to_string(step));
      CHECK(resumed.trainer().step() == step);
      resumed.trainer().run();
      CHECK(resumed.trainer().step() == SmallRun::kSteps);
      CHECK(resumed.bits() == expected);
    }
  }
}

TEST_CASE("checkpoint: masks come back with the file, masked weights as true zeros, and go where it has none") {
  const TemporaryFolder folder;
  SmallRun pruned("adam", 1), dense("adam", 2);
  dense.trainer().save(folder / "dense");
  test::prune_every_third(pruned.model().parameters());
  pruned.trainer().save(folder / "pruned");
  dense.trainer().resume(folder / "pruned");
  CHECK(dense.bits() == pruned.bits());
  std::int64_t zeros = 0;
  for (Parameter* parameter : dense.model().parameters()) {
    if (!parameter->mask()) continue;
    const auto keep = parameter->mask()->keep.to_host_as<std::uint8_t>();
    const auto values = parameter->value.value().to_host();
    for (std::size_t i = 0; i < keep.size(); ++i) {
      if (keep[i]) continue;
      CHECK(std::bit_cast<std::uint32_t>(values[i]) == 0u);
      ++zeros;
    }
  }
  CHECK(zeros == 9 + 250);
  dense.trainer().resume(folder / "dense");
  for (Parameter* parameter : dense.model().parameters()) CHECK(parameter->mask() == nullptr);
}

TEST_CASE("checkpoint: notes are free texts") {
  const TemporaryFolder folder;
  SmallRun run("sgd", 1, {.notes = {{"author", "ünal"}, {"recipe", "a = 1\nb = 2"}}});
  run.trainer().save(folder / "file");
  const Notes notes = notes_of(read_safetensors(folder / "file"));
  CHECK(notes == Notes{{"author", "ünal"}, {"recipe", "a = 1\nb = 2"}});
}

TEST_CASE("checkpoint: a file that does not fit is refused before anything changes") {
  const TemporaryFolder folder;
  SmallRun saved("sgd", 1), run("sgd", 2), adam("adam", 2);
  saved.trainer().train_step();
  saved.trainer().save(folder / "good");
  CHECK(contains(error_of(adam, folder / "good"), "was trained with sgd"));
  CHECK(contains(error_of(run, folder / "absent"), "cannot be opened"));

  const Safetensors good = read_safetensors(folder / "good");
  const auto refused = [&](auto change) {
    Safetensors bad = good;
    change(bad);
    write_safetensors(folder / "bad", bad);
    const std::string error = error_of(run, folder / "bad");
    CHECK(error.starts_with((folder / "bad").string()));
    return error;
  };
  CHECK(contains(refused([](Safetensors& file) { file.tensors.erase("dense_1.weight"); }), "no tensor dense_1.weight"));
  CHECK(contains(refused([](Safetensors& file) { file.tensors["dense_2.weight"] = file.tensors["dense_1.weight"]; }),
                 "a tensor dense_2.weight"));
  CHECK(contains(refused([](Safetensors& file) { file.tensors["mask/other"] = file.tensors["dense_1.bias"]; }),
                 "mask/other"));
  CHECK(contains(refused([](Safetensors& file) {
                   file.tensors["dense_1.bias"].shape = {5, 2};
                 }),
                 "is [5, 2] f32 here"));
  CHECK(contains(refused([](Safetensors& file) { file.tensors["mask/dense_1.bias"] = file.tensors["dense_1.bias"]; }),
                 "mask/dense_1.bias is [10] f32"));
  CHECK(contains(refused([](Safetensors& file) { file.tensors.erase("dropout_1.step"); }), "no tensor dropout_1.step"));
  CHECK(contains(refused([](Safetensors& file) { file.tensors.erase("optimizer/velocity/dense_1.bias"); }),
                 "optimizer/velocity/dense_1.bias"));
  CHECK(contains(refused([](Safetensors& file) { file.metadata.erase("espalier.training"); }), "no run"));
  CHECK(contains(refused([](Safetensors& file) { file.metadata["espalier.training"] = "{}"; }), "cannot be used"));
  CHECK(contains(refused([](Safetensors& file) { file.metadata["espalier.training"] = "{"; }), "cannot be used"));
  CHECK(contains(refused([](Safetensors& file) {
                   std::string& text = file.metadata["espalier.training"];
                   text.replace(text.find("\"batch\":14"), 10, "\"batch\":15");
                 }),
                 "\"batch\":15"));
  CHECK(error_of(run, folder / "good") == "");
  CHECK(run.bits() == saved.bits());
}

TEST_CASE("checkpoint: a file damaged anywhere is refused or loaded whole, never half") {
  const TemporaryFolder folder;
  SmallRun saved("sgd", 1), run("sgd", 2);
  saved.trainer().save(folder / "good");
  std::ifstream in(folder / "good", std::ios::binary);
  const std::string good{std::istreambuf_iterator<char>(in), {}};
  std::mt19937 engine(5);
  const std::size_t header = good.find("  ") != std::string::npos ? good.find("  ") : 2000;
  int refused = 0;
  for (int round = 0; round < 60; ++round) {
    std::string bad = good;
    bad[engine() % header] = char(engine() >> 5);
    std::ofstream(folder / "bad", std::ios::binary).write(bad.data(), std::streamsize(bad.size()));
    refused += error_of(run, folder / "bad") != "";  // checks that a refusal changed nothing
  }
  CHECK(refused > 30);
}
