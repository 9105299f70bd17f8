// Recipes and runs with teachers, as their user meets them.
#include <doctest/doctest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/kitchen.h"

namespace espalier {
namespace {

using test::Kitchen;

constexpr const char* kRecipe =
    "model = \"lenet-300-100\"\n[train]\nepochs = 1\nbatch = 16\n[tune]\nepochs = 2\nbatch = 16\n";

TEST_CASE("recipes: a pruned model learns from dense ones of consecutive seeds, or from checkpoints") {
  const Kitchen espalier;
  const std::string text = std::string(kRecipe) + "[distil]\nteachers = 2\ntemperature = 3\nweight = 0.5\n";
  REQUIRE(espalier("prune --recipe " + espalier.recipe("taught.toml", text)) == 0);
  std::vector<std::string> dense;
  for (const auto& entry : std::filesystem::directory_iterator(espalier.file("run"))) {
    if (entry.path().filename().string().starts_with("dense-")) dense.push_back(entry.path().string());
  }
  REQUIRE(dense.size() == 2);
  CHECK(espalier("prune " + dense[0] + " --epochs 1 --teacher " + dense[0] + " " + dense[1] + " --temperature 2") == 0);
  CHECK(espalier("prune " + dense[0] + " --epochs 1 --teacher no-such-file") == 5);
  CHECK(espalier("prune " + dense[0] + " --epochs 1 --temperature 2") == 2);  // of whom?
  REQUIRE(espalier("train --model lenet-300-100 --epochs 1 --batch 16 --min-max") == 0);
  CHECK(espalier("prune " + dense[0] + " --epochs 1 --teacher " + espalier.file("run/model.safetensors")) == 2);
  CHECK(espalier.text("err").find("--min-max") != std::string::npos);  // the two see different pixels
  CHECK(espalier("prune --recipe " + espalier.recipe("bad.toml", "[distil]\ntemprature = 2\n")) == 2);
  CHECK(espalier.text("err").find("did you mean \"temperature\"") != std::string::npos);
}

TEST_CASE("recipes: images are distorted by the amount that is said, and teachers may be asked before they are") {
  const Kitchen espalier;
  const auto loss_with = [&](const std::string& augment, const std::string& distil) {
    const std::string text = kRecipe + augment + "[distil]\nteachers = 1\n" + distil;
    REQUIRE(espalier("prune --recipe " + espalier.recipe("distorted.toml", text)) == 0);
    return espalier.json().at("test_loss").get<double>();
  };
  const double without = loss_with("", ""), little = loss_with("augment = 0.25\n", "");
  CHECK(little != without);
  CHECK(little != loss_with("augment = 1\n", ""));
  CHECK(little != loss_with("augment = 0.25\n", "ask_once = true\n"));  // other opinions on the same images
  CHECK(without == loss_with("augment = 0\n", "ask_once = true\n"));    // nothing is distorted: the same question
  CHECK(espalier("prune --recipe " + espalier.recipe("bad.toml", "[tune]\naugment = -1\n")) == 2);
  CHECK(espalier.text("err").find("augment") != std::string::npos);
  CHECK(espalier("train --augment=5 --epochs 1") == 2);
  CHECK(espalier.text("err").find("--augment") != std::string::npos);
}

}  // namespace
}  // namespace espalier
