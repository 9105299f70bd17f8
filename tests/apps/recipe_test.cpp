// Recipes as their user meets them: carried out, compared, resumed, and refused with a hint where they are misspelt.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>
#include <vector>

#include "tests/support/kitchen.h"
#include "tests/support/source_dir.h"

namespace espalier {
namespace {

using test::Kitchen;

constexpr const char* kRecipe =
    "model = \"lenet-300-100\"\n[train]\nepochs = 1\nbatch = 16\n[tune]\nepochs = 2\nbatch = 16\n"
    "[prune]\nsparsity = 0.8\ncriterion = \"taylor\"\nnormalisation = \"lamp\"\ncalibration_samples = 32\n";

TEST_CASE("recipes: carried out from the first weights, with every figure and the cost of scoring") {
  const Kitchen espalier;
  REQUIRE(espalier("prune --recipe " + espalier.recipe("small.toml", kRecipe)) == 0);
  const nlohmann::json report = espalier.json();
  CHECK(report.at("sparsity").get<double>() == doctest::Approx(0.8).epsilon(1e-3));
  CHECK(report.at("scoring").at("backward_passes").get<int>() > 0);
  CHECK(report.at("layers").at("macs_kept").get<int>() > 0);
  CHECK(espalier.text("err").find("MACs") != std::string::npos);
}

TEST_CASE("recipes: a run is resumed under the same rule only, its place in the schedule included") {
  const Kitchen espalier;
  const std::string recipe = espalier.recipe("rule.toml", kRecipe);
  REQUIRE(espalier("prune --recipe " + recipe) == 0);
  const nlohmann::json layers = espalier.json().at("layers");
  const std::string again = " --resume " + espalier.json().at("checkpoint").get<std::string>();
  REQUIRE(espalier("prune --recipe " + recipe + again) == 0);
  CHECK(espalier.json().at("layers") == layers);
  for (const char* other : {"end", "begin"}) {
    CAPTURE(other);
    const std::string changed = kRecipe + fmt::format("{} = 0.25\n", other);
    CHECK(espalier("prune --recipe " + espalier.recipe("other.toml", changed) + again) == 5);
    CHECK(espalier.text("err").find(fmt::format(", the run to resume with {} = 0.25\n", other)) != std::string::npos);
  }
}

TEST_CASE("recipes: rates begin anew where a restart is asked for, and only there") {
  const Kitchen espalier;
  const auto loss_with = [&](const std::string& restart) {
    const std::string text =
        "model = \"lenet-300-100\"\n[tune]\nepochs = 2\nbatch = 8\nschedule = \"cosine\"\n" + restart;
    REQUIRE(espalier("prune --recipe " + espalier.recipe("restart.toml", text)) == 0);
    return espalier.json().at("test_loss").get<double>();
  };
  CHECK(loss_with("") == loss_with("restart = 0\n"));
  CHECK(loss_with("") != loss_with("restart = 0.5\n"));
  const auto refused = [&](const std::string& text) {
    return espalier("prune --recipe " + espalier.recipe("bad.toml", "[tune]\n" + text)) == 2;
  };
  CHECK(refused("restart = 1\n"));
  CHECK(refused("restart = 0.5\nrate_epochs = 3\n"));
  CHECK(espalier.text("err").find("rate_epochs is 3") != std::string::npos);
}

TEST_CASE("recipes: penalties act in every step of fine-tuning") {
  const Kitchen espalier;
  const auto loss_with = [&](const std::string& penalty) {
    const std::string text =
        "model = \"lenet-300-100\"\n[tune]\nepochs = 2\nbatch = 16\n[prune]\nsparsity = 0.5\n" + penalty;
    REQUIRE(espalier("prune --recipe " + espalier.recipe("penal.toml", text)) == 0);
    return espalier.json().at("test_loss").get<double>();
  };
  const double without = loss_with("");
  for (const char* word : {"l1", "l2", "group-lasso-filters", "group-lasso-channels"}) {
    CAPTURE(word);
    CHECK(loss_with("penalty = \"" + std::string(word) + "\"\npenalty_strength = 0.1\n") != without);
  }
  CHECK(espalier("prune --recipe " +
                 espalier.recipe("bad.toml", "model = \"lenet-300-100\"\n[prune]\npenalty = \"batch-norm-scale\"\n")) ==
        2);
  CHECK(espalier.text("err").find("batch norm") != std::string::npos);
}

TEST_CASE("recipes: a preparation leads weights to zero before they fall, at one pruning only") {
  const Kitchen espalier;
  const auto run = [&](const std::string& schedule, const std::string& target = "sparsity = 0.8") {
    return espalier("prune --recipe " +
                    espalier.recipe("led.toml",
                                    "model = \"lenet-300-100\"\n[tune]\nepochs = 2\nbatch = 16\n[prune]\n"
                                    "preparation = \"admm\"\nschedule = \"" +
                                        schedule + "\"\n" + target + "\n"));
  };
  for (const char* until : {"sparsity = 0.8", "sparsity = 0.8\nend = 1", "sparsity = 0.8\nbegin = 0.5\nend = 1"}) {
    CAPTURE(until);  // what is prepared until the end still falls
    REQUIRE(run("one-shot", until) == 0);
    const nlohmann::json report = espalier.json();
    CHECK(report.at("sparsity").get<double>() == doctest::Approx(0.8).epsilon(1e-3));
  }
  for (const char* schedule : {"cubic", "before-training"}) {
    CAPTURE(schedule);
    CHECK(run(schedule) == 2);
    CHECK(espalier.text("err").find("one-shot") != std::string::npos);
  }
  CHECK(run("one-shot", "threshold = 0.1") == 2);
  CHECK(espalier.text("err").find("no threshold") != std::string::npos);
}

TEST_CASE("recipes: random weights as preparations fall to the target at least, and know what they cannot be") {
  const Kitchen espalier;
  const auto run = [&](const std::string& keys) {
    return espalier("prune --recipe " +
                    espalier.recipe("random.toml",
                                    "model = \"lenet-300-100\"\n[tune]\nepochs = 2\nbatch = 16\n[prune]\n"
                                    "schedule = \"one-shot\"\nsparsity = 0.8\nstrength = 0.001\n" +
                                        keys + "\n"));
  };
  for (const char* keys : {"preparation = \"variational\"", "preparation = \"hard-concrete\"\ngroup = \"neuron\""}) {
    CAPTURE(keys);
    REQUIRE(run(keys) == 0);
    CHECK(espalier.json().at("sparsity").get<double>() > 0.799);
  }
  CHECK(run("preparation = \"variational\"\ncriterion = \"taylor\"") == 2);
  CHECK(espalier.text("err").find("signal to noise") != std::string::npos);
  CHECK(run("preparation = \"hard-concrete\"\ngroup = \"kernel\"") == 2);
  CHECK(espalier.text("err").find("no gates for the group kernel") != std::string::npos);
  CHECK(run("preparation = \"variational\"\npreparation_rate = 0") == 2);
  CHECK(espalier.text("err").find("preparation_rate") != std::string::npos);
}

TEST_CASE("espalier compare: recipes over seeds, with the mean and its interval") {
  const Kitchen espalier;
  const std::string taylor = espalier.recipe("small.toml", kRecipe);
  const std::string random = espalier.recipe(
      "random.toml",
      "model = \"lenet-300-100\"\n[train]\nepochs = 1\nbatch = 16\n[tune]\nepochs = 0\n[prune]\nparams = 0.3\n"
      "criterion = \"random\"\n");
  REQUIRE(espalier("compare " + taylor + " " + random + " --seeds 2") == 0);
  const nlohmann::json report = espalier.json();
  REQUIRE(report.at("recipes").size() == 2);
  CHECK(report.at("recipes")[0].at("runs").size() == 2);
  CHECK(report.at("recipes")[0].at("interval").get<double>() >= 0);
  CHECK(report.at("recipes")[0].at("dense_accuracy") == report.at("recipes")[1].at("dense_accuracy"));  // trained once
  CHECK(report.at("recipes")[1].at("parameters_kept").get<int>() == int(0.3 * 266'610));
  CHECK(report.at("recipes")[1].at("scoring_backward_passes") == 0);
}

TEST_CASE("recipes: an unknown key, word or name is refused with the one that was meant") {
  const Kitchen espalier;
  const auto refused = [&](const std::string& text) {
    CHECK(espalier("prune --recipe " + espalier.recipe("bad.toml", text)) == 2);
    return espalier.text("err");
  };
  CHECK(refused("[prune]\nsparsty = 0.5\n").find("did you mean \"sparsity\"") != std::string::npos);
  CHECK(refused("[prune]\ncriterion = \"magnitde\"\n").find("did you mean \"magnitude\"") != std::string::npos);
  CHECK(refused("[prun]\nsparsity = 0.5\n").find("did you mean \"prune\"") != std::string::npos);
  CHECK(refused("[prune]\nsparsity = 1.0\n").find("at most") != std::string::npos);
  CHECK(refused("[prune]\nsparsity = 0.5\nmacs = 0.5\n").find("2 targets") != std::string::npos);
  CHECK(refused("[tune]\nepochs = 1.5\n").find("whole number") != std::string::npos);
  CHECK(refused("[prune\n").find("bad.toml:1") != std::string::npos);
  CHECK(espalier("prune --recipe seed-20pt") == 5);
  CHECK(espalier.text("err").find("did you mean seed-20pct?") != std::string::npos);
  CHECK(espalier("prune") == 2);
  const std::string recipe = "prune --recipe " + espalier.recipe("small.toml", kRecipe);
  for (const char* option : {"--sparsity 0.5", "--epochs 2", "--channels 0.5", "--speedup 2"}) {  // the recipe says it
    CAPTURE(option);
    CHECK(espalier(recipe + " " + option) == 2);
  }
}

TEST_CASE("recipes: a schedule that lasts until the end arrives, a release at the end takes place") {
  const Kitchen espalier;
  const auto sparsity_of = [&](const std::string& keys) {
    REQUIRE(espalier("prune --recipe " + espalier.recipe("late.toml",
                                                         "model = \"lenet-300-100\"\n[tune]\nepochs = 2\n"
                                                         "batch = 16\n[prune]\nsparsity = 0.8\n" +
                                                             keys + "\n")) == 0);
    return espalier.json().at("sparsity").get<double>();
  };
  for (const char* schedule : {"cubic", "linear", "iterative", "one-shot"}) {
    CAPTURE(schedule);
    const std::string word = "fraction = 0.6\nschedule = \"" + std::string(schedule) + "\"\n";
    CHECK(sparsity_of(word + "end = 1") == doctest::Approx(0.8).epsilon(1e-3));
    CHECK(sparsity_of(word + "begin = 1\nend = 1") == doctest::Approx(0.8).epsilon(1e-3));
  }
  CHECK(sparsity_of("release = 1") == 0);
}

TEST_CASE("recipes: what contradicts itself is refused before anything is trained") {
  const Kitchen espalier;
  const auto refused = [&](const std::string& keys, const char* word) {
    CAPTURE(keys);
    CHECK(espalier("prune --recipe " + espalier.recipe("bad.toml",
                                                       "model = \"lenet-300-100\"\n[tune]\nepochs = 2\n"
                                                       "batch = 16\n[prune]\n" +
                                                           keys + "\n")) == 2);
    CHECK(espalier.text("err").find(word) != std::string::npos);
    CHECK(espalier.text("err").find("epoch 1/2") == std::string::npos);
  };
  const std::string layers = "layers = { \"dense_1.weight\" = 0.9";
  refused("sparsity = 0.995", "min_density");
  refused("sparsity = 0.9\nmin_density = 0.5", "90 % cannot go");
  refused("sparsity = 0.5\nmax_density = 0.2", "max_density");
  refused("sparsity = 0.5\n" + layers + " }", "already");
  refused("sparsity = 0.5\n" + layers + ", \"dense_2.weight\" = 0.9, \"dense_3.weight\" = 0.9 }", "90 % together");
  refused("sparsity = 0.9\nlayers = { \"dense_7.weight\" = 0.9 }", "dense_7.weight");
  refused("sparsity = 0.9\nmin_density = 0.1\nlayers = { \"dense_3.weight\" = 0.95 }",
          "dense_3.weight is to lose 95 %");
  refused("sparsity = nan", "nan");
  refused("threshold = nan", "nan");
  refused("ignore = [\"dense_9.weight\"]", "dense_9.weight");
  refused("regrowth = \"gradient\"", "nothing would grow");
  refused("rewind = 5", "rewind");
  refused("schedule = \"iterative\"\nfraction = 0.1", "instead of 0.9");
  refused("begin = 0.6\nend = 0.5", "begin");
  refused("pattern = \"coupled-channel\"\nmacs = 0.1\nmin_density = 0.5", "multiply-adds cannot go");
  refused("channels = 0.1\nmin_density = 0.5", "channels cannot fall");
  refused("channels = 0.5\n" + layers + " }", "whole channels");
}

TEST_CASE("recipes: whole channels fall and are taken out, by the same words as on the command line") {
  const Kitchen espalier;
  REQUIRE(espalier("prune --recipe " + espalier.recipe("small.toml",
                                                       "model = \"lenet-300-100\"\n[tune]\nepochs = 1\nbatch = 16\n"
                                                       "[prune]\nchannels = 0.25\nscope = \"local\"\n")) == 0);
  const nlohmann::json shrunk = espalier.json().at("shrunk");
  CHECK(shrunk.at("layers").at(0).at("after") == 75);
  CHECK(shrunk.at("layers").at(1).at("after") == 25);
  CHECK(shrunk.at("weights") == 784 * 75 + 75 * 25 + 25 * 10);
  CHECK(espalier.text("err").find("pruned: weights") != std::string::npos);
}

TEST_CASE("recipes: channels may be reordered before N:M, and for nothing else") {
  const Kitchen espalier;
  const std::string recipe =
      "model = \"lenet-300-100\"\n[tune]\nepochs = 0\n[prune]\nsparsity = 0.5\nscope = \"local\"\npermute = true\n";
  REQUIRE(espalier("prune --recipe " + espalier.recipe("a.toml", recipe + "pattern = \"2:4\"\n")) == 0);
  CHECK(espalier.text("err").find("dense_1: 300 channels reordered by") != std::string::npos);
  CHECK(espalier("prune --recipe " + espalier.recipe("b.toml", recipe)) == 2);
}

TEST_CASE("recipes: patterns and groups of any size, whose own sparsity stands unless another is asked for") {
  const Kitchen espalier;
  const std::string start = "model = \"lenet-300-100\"\n[tune]\nepochs = 1\nbatch = 16\n[prune]\nscope = \"local\"\n";
  const auto pruned = [&](const std::string& lines) {
    return espalier("prune --recipe " + espalier.recipe("sized.toml", start + lines));
  };
  const auto sparsity = [&] { return espalier.json().at("sparsity").get<double>(); };
  const auto sized = [](const std::string& key, const std::string& word) { return key + " = \"" + word + "\"\n"; };
  const std::vector<std::pair<std::string, double>> own{
      {"1:4", 0.75}, {"2:4-channels", 0.5}, {"4:2:5", 0.6}, {"vector-10-2:4", 0.5}};
  for (const auto& [word, expected] : own) {
    CAPTURE(word);
    REQUIRE(pruned(sized("pattern", word)) == 0);
    CHECK(sparsity() == doctest::Approx(expected).epsilon(0.01));
    CHECK(pruned(sized("pattern", word) + "sparsity = 0.9\n") == 2);
    CHECK(espalier.text("err").find(word + " itself removes") != std::string::npos);
    CHECK(pruned(sized("pattern", word) + "layers = { \"dense_1.weight\" = 0.9 }\n") == 2);
  }
  for (const char* word : {"vector-10", "block-4", "block-2x5"}) {
    CAPTURE(word);
    REQUIRE(pruned(sized("pattern", word) + sized("group", word) + "sparsity = 0.8\n") == 0);
    CHECK(sparsity() == doctest::Approx(0.8).epsilon(0.01));
  }
}

TEST_CASE("recipes: a pattern or group that cannot be is refused with what can") {
  const Kitchen espalier;
  const auto refusal = [&](const std::string& line) {
    REQUIRE(espalier("prune --recipe " + espalier.recipe("wrong.toml", "[prune]\n" + line + "\n")) == 2);
    return espalier.text("err");
  };
  CHECK(refusal("pattern = \"blok-8\"").find("did you mean \"block-B\"") != std::string::npos);
  CHECK(refusal("pattern = \"block-#\"").find("is unknown") != std::string::npos);
  CHECK(refusal("pattern = \"vector-99999999999\"").find("is unknown") != std::string::npos);
  CHECK(refusal("pattern = \"5:4\"").find("5 of 4; needs 1 <= n <= m <= 32") != std::string::npos);
  CHECK(refusal("pattern = \"block-0x4\"").find("both must be at least 1") != std::string::npos);
  CHECK(refusal("group = \"vector\"").find("vector-V") != std::string::npos);
  CHECK(refusal("group = \"2:4\"").find("known are element") != std::string::npos);
}

TEST_CASE("recipes: the data set is the recipe's, padding and scaling are the run's, and all are kept in mind") {
  const Kitchen espalier;
  const std::string recipe = "prune --recipe " + espalier.recipe("small.toml", kRecipe);
  CHECK(espalier(recipe + " --data fashion-mnist") == 2);
  CHECK(espalier.text("err").find("--data") != std::string::npos);
  REQUIRE(espalier(recipe + " --padding 2") == 0);
  const std::string out = espalier.json().at("checkpoint").get<std::string>();
  for (const char* other : {"", " --padding 2 --min-max"}) {  // than the dense network in the folder was trained with
    CAPTURE(other);
    CHECK(espalier(recipe + other) == 2);
    CHECK(espalier.text("err").find("--run-dir") != std::string::npos);
  }
  CHECK(espalier("prune " + out + " --epochs 0 --sparsity 0.9") == 0);  // its notes say how its images were padded
}

TEST_CASE("recipes: every key is told of in the folder's README") {
  const std::filesystem::path apps = std::filesystem::path(test::source_dir()) / "apps";
  const auto all_of = [](const std::filesystem::path& file) {
    std::ifstream stream(file);
    return std::string(std::istreambuf_iterator<char>(stream), {});
  };
  const std::string source = all_of(apps / "commands/recipe.cpp"), told = all_of(apps / "recipes/README.md");
  const std::regex read("\\.(?:read|read_word|section)\\(\"([a-z_]+)\"");
  int keys = 0;
  for (std::sregex_iterator found(source.begin(), source.end(), read), end; found != end; ++found, ++keys) {
    const std::string key = (*found)[1];
    CAPTURE(key);
    CHECK((told.find("`" + key + "`") != std::string::npos || told.find("`[" + key + "]`") != std::string::npos));
  }
  CHECK(keys > 40);
}

TEST_CASE("espalier compare: one recipe by several criteria") {
  const Kitchen espalier;
  const std::string recipe =
      espalier.recipe("small.toml", "model = \"lenet-300-100\"\n[tune]\nepochs = 9999\n[prune]\n");
  REQUIRE(espalier("compare " + recipe + " --criteria magnitude random --seeds 1 --tune-epochs 0") == 0);
  const nlohmann::json found = espalier.json().at("recipes");
  CHECK(found.at(0).at("recipe") == "small-magnitude");
  CHECK(found.at(1).at("recipe") == "small-random");
  CHECK(espalier.text("run/table.md").find("| small-random") != std::string::npos);
  CHECK(espalier("compare " + recipe + " --criteria magnitud") == 2);
}

TEST_CASE("espalier compare: one recipe at several sparsities, which layers of their own follow") {
  const Kitchen espalier;
  const std::string head = "model = \"lenet-300-100\"\n[tune]\nepochs = 0\n[prune]\n";
  const std::string recipe = espalier.recipe(
      "curve.toml", head + "sparsity = 0.9\nlayers = { \"dense_2.weight\" = 0.8, \"dense_3.weight\" = 0.2 }\n");
  REQUIRE(espalier("compare " + recipe + " --sparsities 0.8 0.95 --seeds 1") == 0);
  const nlohmann::json found = espalier.json().at("recipes");
  const std::int64_t kept[2][3] = {{40240, 12000, 1000}, {9910, 3000, 400}};
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(found.at(i).at("recipe") == (i == 0 ? "curve-0.8" : "curve-0.95"));
    const nlohmann::json& layers = found.at(i).at("runs").at(0).at("layers").at("layers");
    for (std::size_t layer = 0; layer < 3; ++layer) {
      CHECK(std::abs(layers.at(layer).at("kept").get<std::int64_t>() - kept[i][layer]) <= 1);
    }
  }
  CHECK(espalier("compare " + espalier.recipe("macs.toml", head + "macs = 0.5\n") + " --sparsities 0.9") == 2);
  CHECK(espalier.text("err").find("sparsity") != std::string::npos);
}

TEST_CASE("recipes: scales of norms are slimmed, their channels fall; branches of residual blocks fall") {
  const Kitchen espalier;
  const std::string head = "model = \"resnet-small\"\n[tune]\nepochs = 0\n[prune]\n";
  REQUIRE(espalier("prune --recipe " +
                   espalier.recipe("slim.toml",
                                   "model = \"resnet-small\"\n[train]\nepochs = 1\nbatch = 48\nslimming = 0.001\n"
                                   "[tune]\nepochs = 0\n[prune]\nmacs = 0.5\npattern = \"coupled-channel\"\n"
                                   "criterion = \"batch-norm-scale\"\n")) == 0);
  const nlohmann::json shrunk = espalier.json().at("shrunk");
  // Each padding convolution keeps a constant channel in front of it.
  CHECK(shrunk.at("macs").get<double>() <= 0.6 * shrunk.at("macs_before").get<double>());
  REQUIRE(espalier("prune --recipe " + espalier.recipe("deep.toml", head + "macs = 0.8\npattern = \"branch\"\n")) == 0);
  const nlohmann::json branches = espalier.json().at("branches");
  CHECK(branches.at("removed").size() >= 1);
  CHECK(branches.at("macs").get<double>() <= 0.8 * branches.at("macs_before").get<double>());
  CHECK(espalier("prune --recipe " + espalier.recipe("none.toml", head + "macs = 0.01\npattern = \"branch\"\n")) == 2);
  const std::string ablation = "criterion = \"ablation\"\ncalibration_samples = 16\nmacs = 0.8\n";
  REQUIRE(espalier("prune --recipe " + espalier.recipe("loss.toml", head + ablation + "pattern = \"branch\"\n")) == 0);
  CHECK(espalier.json().at("branches").at("scores") != branches.at("scores"));
  CHECK(espalier("prune --recipe " + espalier.recipe("none.toml", head + ablation)) == 2);
  CHECK(espalier.text("err").find("--pattern branch") != std::string::npos);
}

TEST_CASE("recipes: all that come with the program can be read") {
  const Kitchen espalier;
  const std::filesystem::path folder = std::filesystem::path(test::source_dir()) / "apps/recipes";
  std::string all;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".toml") all += entry.path().stem().string() + " ";
  }
  CHECK(all.find("rigl-90") != std::string::npos);
  // All are read before any is carried out: the last one's name is what stops the command.
  CHECK(espalier("compare " + all + "no-such-recipe") == 5);
  CHECK(espalier.text("err").find("no-such-recipe") != std::string::npos);
}

}  // namespace
}  // namespace espalier
