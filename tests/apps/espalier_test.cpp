// The program as its user meets it: every command on a small made-up data set, its report, its exit codes.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "tests/support/program.h"

namespace espalier {
namespace {

using test::Program;

TEST_CASE("espalier: train, prune, eval, bench and inspect hand a model on") {
  const Program espalier;
  const std::string data = espalier.data_option();
  REQUIRE(espalier("train --model lenet-300-100 --epochs 2 --batch 16 --json --run-dir " + espalier.file("a") + data) ==
          0);
  const nlohmann::json trained = espalier.json();
  CHECK(trained.at("images_per_second").get<double>() > 0);
  CHECK(trained == espalier.json("a/report.json"));

  const std::string dense = espalier.file("a/model.safetensors"), pruned = espalier.file("b/pruned.safetensors");
  REQUIRE(espalier("prune " + dense + " --sparsity 0.8 --epochs 2 --batch 16 --json --run-dir " + espalier.file("b") +
                   data) == 0);
  const nlohmann::json report = espalier.json();
  CHECK(report.at("sparsity").get<double>() == doctest::Approx(0.8).epsilon(1e-4));
  CHECK(report.at("test_accuracy_before") == trained.at("test_accuracy"));

  REQUIRE(espalier("eval " + pruned + " --json" + data) == 0);
  CHECK(espalier.json().at("test_accuracy") == report.at("test_accuracy"));
  REQUIRE(espalier("inspect " + pruned + " --json") == 0);
  CHECK(espalier.json().at("parameters_kept") == report.at("parameters_kept"));
  REQUIRE(espalier("bench " + pruned + " --batches 2 --json") == 0);
  CHECK(espalier.json().at("bench").at(0).at("batch") == 2);
}

TEST_CASE("espalier train: no epochs leave the first weights in the checkpoint that it names") {
  const Program espalier;
  REQUIRE(espalier("train --model lenet-300-100 --epochs 0 --json --run-dir " + espalier.file("t") +
                   espalier.data_option()) == 0);
  CHECK(espalier("inspect " + espalier.json().at("checkpoint").get<std::string>()) == 0);
}

TEST_CASE("espalier export: a file that every command takes in place of the checkpoint") {
  const Program espalier;
  const std::string data = espalier.data_option(), dense = espalier.file("a/model.safetensors");
  const std::string pruned = espalier.file("b/pruned.safetensors"), small = espalier.file("small.espalier");
  REQUIRE(espalier("train --model lenet-300-100 --epochs 2 --batch 16 --run-dir " + espalier.file("a") + data) == 0);
  REQUIRE(espalier("prune " + dense + " --sparsity 0.95 --prune-schedule one-shot --epochs 0 --run-dir " +
                   espalier.file("b") + data) == 0);
  REQUIRE(espalier("eval " + pruned + " --json" + data) == 0);
  const nlohmann::json expected = espalier.json();

  REQUIRE(espalier("export " + pruned + " --format espalier --output " + small + " --json") == 0);
  CHECK(espalier.json().at("ratio").get<double>() > 10);
  REQUIRE(espalier("eval " + small + " --json" + data) == 0);
  CHECK(espalier.json().at("test_loss") == expected.at("test_loss"));  // bit for bit
  const double exact = double(std::filesystem::file_size(small));

  REQUIRE(espalier("export " + pruned + " --quantise kmeans:6 --huffman --json --output " + small) == 0);
  const nlohmann::json exported = espalier.json();
  CHECK(exported.at("file_bytes").get<double>() < 0.5 * exact);
  CHECK(exported.at("layers").at(1).at("values") == "64 shared, huffman");
  REQUIRE(espalier("eval " + small + data) == 0);
  REQUIRE(espalier("bench " + small + " --batches 2") == 0);
  REQUIRE(espalier("prune " + small + " --sparsity 0.96 --epochs 1 --batch 16 --run-dir " + espalier.file("c") +
                   data) == 0);
  REQUIRE(espalier("inspect " + small + " --json") == 0);
  const nlohmann::json stored = espalier.json().at("stored");
  CHECK(stored.at("layers") == exported.at("layers"));
  REQUIRE(stored.at("transmission").size() == 3);
  CHECK(stored.at("transmission").at(0).at("milliseconds").get<double>() ==
        doctest::Approx(8e-4 * stored.at("file_bytes").get<double>()));
  REQUIRE(espalier("inspect " + pruned + " --json") == 0);
  CHECK(espalier.json().at("stored").at("layers").at(0).at("layout") == "dense");

  for (const char* wrong : {"int4", "kmeans:", "kmeans:0", "kmeans:9", "kmeans5", "kmeans:5x"}) {
    CAPTURE(wrong);
    CHECK(espalier("export " + pruned + " --output " + small + " --quantise " + wrong) == 2);
  }
  CHECK(espalier("export " + pruned + " --format onnx --output " + small) == 2);
  CHECK(espalier("export " + pruned + " --output " + espalier.file("no/such/folder/file")) == 5);
  CHECK(espalier("eval " + small + data) == 0);
}

TEST_CASE("espalier: channels fall, and what is left computes the same as a smaller network") {
  const Program espalier;
  const std::string data = espalier.data_option(), run = espalier.file("p");
  REQUIRE(espalier("train --model lenet-300-100 --epochs 1 --batch 16 --json --run-dir " + espalier.file("t") + data) ==
          0);
  const std::string dense = espalier.file("t/model.safetensors");
  REQUIRE(espalier("prune " + dense + " --channels 0.5 --scope local --epochs 1 --batch 16 --json --run-dir " + run +
                   data) == 0);
  const nlohmann::json shrunk = espalier.json().at("shrunk");
  CHECK(shrunk.at("layers").at(0).at("after") == 150);
  CHECK(shrunk.at("layers").at(1).at("after") == 50);
  CHECK(shrunk.at("relative_difference").get<double>() < 1e-5);
  CHECK(shrunk.at("test_accuracy") == espalier.json().at("test_accuracy"));
  REQUIRE(espalier("shrink " + run + "/pruned.safetensors --granule 8 --json --output " + espalier.file("s")) == 0);
  CHECK(espalier.json().at("layers").at(0).at("after") == 152);
  CHECK(espalier("eval " + espalier.file("s") + data) == 0);
  REQUIRE(espalier("inspect " + espalier.file("s") + " --channels --json") == 0);
  CHECK(espalier.json().at(1).at("channels") == 152);
  const std::string coupled = "prune " + dense + " --pattern coupled-channel --epochs 0 --json --run-dir " + run + data;
  const auto left = [&](const std::string& target, const std::string& key) {
    REQUIRE(espalier(coupled + target) == 0);
    const nlohmann::json small = espalier.json().at("shrunk");
    return small.at(key).get<double>() / small.at(key + "_before").get<double>();
  };
  CHECK(left(" --macs 0.3", "macs") == doctest::Approx(0.3).epsilon(0.02));
  CHECK(left(" --params 0.4", "parameters") == doctest::Approx(0.4).epsilon(0.02));
  CHECK(left(" --bytes 200000", "parameters") == doctest::Approx(50'000.0 / 266'610).epsilon(0.02));
  CHECK(left(" --sparsity 0.8", "macs") == doctest::Approx(0.2).epsilon(0.02));
  for (const char* impossible : {" --macs 0.0001 --min-density 0.5", " --threshold 0.1", " --params 1e9", " --macs 0",
                                 " --channels 0.5 --scope erdos-renyi", " --channels 0.5 --ignore dense_9"}) {
    CAPTURE(impossible);
    CHECK(espalier(coupled + impossible) == 2);
  }
  REQUIRE(espalier(coupled + " --speedup 1.2 --latency-batch 1024 --gpu t4 --width-granule 20") == 0);
  CHECK(espalier.json().at("latency").at("timing") == "T4, modelled");
  CHECK(espalier.json().at("shrunk").at("layers").at(0).at("after").get<int>() < 300);
  CHECK(espalier(coupled + " --speedup 1000 --gpu t4 --width-granule 50") == 2);
  REQUIRE(espalier("prune " + dense + " --layer dense_1.weight=0.95 dense_3.weight=0.4 --epochs 0 --json" +
                   " --run-dir " + run + data) == 0);
  CHECK(espalier.json().at("layers").at("layers").at(0).at("kept") == 11'760);
  CHECK(espalier.json().at("layers").at("layers").at(2).at("kept") == 600);
  CHECK(espalier("prune " + dense +
                 " --epochs 1 --batch 16 --preparation admm --prune-schedule one-shot --strength nan" + " --run-dir " +
                 run + data) == 2);
  for (const char* wrong : {"dense_9.weight=0.5", "dense_1.weight=half", "dense_1.weight", "dense_1.weight=1.0"}) {
    CHECK(espalier("prune " + dense + " --epochs 0 --run-dir " + run + data + " --layer " + wrong) == 2);
  }
  REQUIRE(espalier("prune " + dense + " --macs 0.25 --epochs 0 --json --run-dir " + run + data) ==
          0);  // single weights
  CHECK(espalier.json().at("layers").at("macs_kept").get<double>() == doctest::Approx(0.25 * 266'200).epsilon(1e-3));
}

TEST_CASE("espalier sensitivity, prune --auto: curves per layer, and rates that keep a bound") {
  const Program espalier;
  const std::string data = espalier.data_option(), dense = espalier.file("t/model.safetensors");
  REQUIRE(espalier("train --model lenet-300-100 --epochs 1 --batch 16 --run-dir " + espalier.file("t") + data) == 0);
  REQUIRE(espalier("sensitivity " + dense + " --at 0.5 0.9 --validation 20 --criterion taylor --json --svg " +
                   espalier.file("curves.svg") + data) == 0);
  const nlohmann::json curves = espalier.json();
  REQUIRE(curves.at("layers").size() == 3);
  CHECK(curves.at("layers").at(0).at("points").at(1).at("kept") == 23'520);
  CHECK(curves.at("unpruned").at("samples") == 20);
  CHECK(espalier.text("curves.svg").find("dense_3.weight") != std::string::npos);

  REQUIRE(espalier("sensitivity " + dense + " --at 0.5 --validation 20 --pattern coupled-channel --json" + data) == 0);
  CHECK(espalier.json().at("layers").at(0).at("points").at(0).at("kept") == 150);

  const std::string prune = "prune " + dense + " --auto --validation 16 --epochs 1 --batch 16 --run-dir ";
  REQUIRE(espalier(prune + espalier.file("p") + " --max-drop 60 --trials 2 --trial-epochs 1 --json" + data) == 0);
  const nlohmann::json found = espalier.json().at("auto");
  REQUIRE(found.at("candidates").size() == 2);
  CHECK(found.at("timing") == "A100, modelled");
  CHECK(found.contains("final"));
  const auto chosen = found.at("candidates").at(found.at("chosen").get<std::size_t>());
  CHECK(espalier.json().at("sparsity").get<double>() == doctest::Approx(chosen.at("sparsity").get<double>()));
  const std::string resumed = " --resume " + espalier.file("p/pruned.safetensors") + " --json" + data;
  const nlohmann::json layers = espalier.json().at("layers");
  REQUIRE(espalier(prune + espalier.file("r") + " --max-drop 90 --minimise bytes" + resumed) == 0);  // no search
  CHECK(espalier.json().at("layers") == layers);
  CHECK(!espalier.json().at("auto").contains("candidates"));
  CHECK(espalier.json().at("auto").at("final").at("within") == true);
  CHECK(espalier(prune + espalier.file("r") + " --criterion taylor" + resumed) == 5);
  REQUIRE(espalier(prune + espalier.file("p") + " --max-drop 90 --macs 0.25 --json" + data) == 0);
  CHECK(espalier.json().at("layers").at("macs_kept").get<double>() == doctest::Approx(66'550).epsilon(0.02));
  REQUIRE(espalier(prune + espalier.file("p") + " --max-drop 90 --speedup 1.2 --latency-batch 256 --gpu t4 --json" +
                   data) == 0);
  const nlohmann::json timed = espalier.json().at("auto"),
                       taken = timed.at("candidates").at(timed.at("chosen").get<std::size_t>());
  CHECK(taken.at("latency_us").get<double>() * 1.2 <= timed.at("dense").at("latency_us").get<double>() * 1.01);
  REQUIRE(espalier(prune + espalier.file("p") + " --max-drop 90 --pattern coupled-channel --macs 0.5 --json" + data) ==
          0);
  const nlohmann::json small = espalier.json().at("shrunk");
  CHECK(small.at("macs").get<double>() <= 0.5 * small.at("macs_before").get<double>());
  CHECK(small.at("layers").at(0).at("after") ==
        espalier.json().at("auto").at("candidates").at(0).at("widths").at("dense_1"));
  for (const char* wrong :
       {" --sparsity 0.5", " --channels 0.5", " --speedup 2 --macs 0.5", " --pattern 2:4", " --pattern 16:2:8",
        " --trials 0", " --pattern branch", " --macs 0.5 --minimise bytes", " --measured --gpu a100",
        " --speedup 2 --minimise macs", " --pattern coupled-channel --criterion batch-norm-scale"}) {
    CAPTURE(wrong);
    CHECK(espalier(prune + espalier.file("p") + wrong + data) == 2);
  }
  CHECK(espalier("prune " + dense + " --max-drop 1 --run-dir " + espalier.file("p") + data) == 2);  // of --auto
}

TEST_CASE("espalier mnist: the report has what it promises, and both checkpoints and the metrics are there") {
  const Program espalier;
  REQUIRE(espalier("mnist --epochs 1 --fine-tune-epochs 2 --batches 1 3 --json --run-dir " + espalier.file("run") +
                   espalier.data_option()) == 0);
  const nlohmann::json report = espalier.json("run/report.json");
  CHECK(report == espalier.json());
  CHECK(report.at("dense").contains("test_accuracy"));
  CHECK(report.at("dense").at("precision") == "fp32");
  CHECK(report.at("pruned").contains("test_accuracy"));
  CHECK(report.at("pruned").at("sparsity").get<double>() == doctest::Approx(0.9).epsilon(1e-4));
  CHECK(report.at("pruned").at("parameters_kept").get<int>() == 121'930 - 109'584);
  CHECK(report.contains("device"));
  REQUIRE(report.at("bench").size() == 2);
  for (const char* key : {"batch", "dense_us", "pruned_us", "speedup", "timing"}) {
    CHECK(report.at("bench").at(1).contains(key));
  }
  for (const char* key : {"layer", "format", "implementation", "us", "reason"}) {
    CHECK(report.at("plan").at(0).contains(key));
  }
  for (const char* file : {"dense.safetensors", "pruned.safetensors"}) {
    CHECK(espalier("eval " + espalier.file("run/") + file + espalier.data_option()) == 0);
  }
  std::ifstream metrics(espalier.file("run/metrics.jsonl"));
  std::string line;
  CHECK(std::getline(metrics, line));
  CHECK(nlohmann::json::parse(line).contains("loss"));
}

TEST_CASE("espalier --trace: a trace file that lists layers, kernels and replays") {
  const Program espalier;
  const auto names = [&] {
    const nlohmann::json trace = espalier.json("trace");
    std::set<std::string> found;
    for (const auto& event : trace.at("traceEvents")) found.insert(event.at("name"));
    return found;
  };
  REQUIRE(espalier("bench --model lenet-300-100 --batches 2 --trace " + espalier.file("trace")) == 0);
  CHECK(names().contains("dense_1 forward"));
  CHECK(names().contains("graph replay"));
  REQUIRE(espalier("train --model lenet-300-100 --epochs 1 --batch 16 --trace " + espalier.file("trace") +
                   " --run-dir " + espalier.file("t") + espalier.data_option()) == 0);
  for (const char* name : {"epoch 1", "training step", "dense_3 backward", "adam update"}) {
    CAPTURE(name);
    CHECK(names().contains(name));
  }
  CHECK(espalier("bench --batches 2 --trace " + espalier.file("no/such/folder")) == 5);
}

TEST_CASE("espalier: --until-accuracy decides by validation images and tells how long it took") {
  Program espalier;
  const std::string run = "train --model lenet-300-100 --batch 8 --validation 8 --json --augment --data-dir " +
                          espalier.file("data") + " --run-dir ";
  REQUIRE(espalier(run + espalier.file("a") + " --epochs 6 --until-accuracy 0.001 --evaluate-every 3") == 0);
  const nlohmann::json reached = espalier.json().at("until_accuracy");
  CHECK(reached.at("reached") == true);
  const nlohmann::json& looks = reached.at("looks");
  CHECK(reached.at("steps") == 3 * looks.size());  // the first look that is good enough ends the run
  CHECK(espalier.json().at("steps") == reached.at("steps"));
  for (std::size_t i = 0; i < looks.size(); ++i) CHECK((looks[i].at("accuracy") > 0.0) == (i + 1 == looks.size()));
  CHECK(espalier.json().at("augment") == 1);
  CHECK(reached.at("seconds").get<double>() > 0);
  CHECK(reached.at("validation_samples") == 8);
  CHECK(espalier.json().at("samples") == 16);  // what is reported in the end is of the test images

  REQUIRE(espalier(run + espalier.file("b") + " --until-accuracy 100 --epochs 1 --learning-rate 0") == 0);
  const nlohmann::json missed = espalier.json().at("until_accuracy");
  CHECK(missed.at("reached") == false);
  CHECK(missed.at("seconds").is_null());
  CHECK(missed.at("looks").size() == 1);
  CHECK(espalier("train --until-accuracy 101") == 2);
}

TEST_CASE("espalier: --precision reaches training, judging and measuring, and a run is resumed in its own only") {
  const Program espalier;
  const std::string data = espalier.data_option(), model = espalier.file("a/model.safetensors");
  const std::string run = "train --model lenet-300-100 --batch 16 --json" + data + "--run-dir ";
  REQUIRE(espalier(run + espalier.file("a") + " --epochs 1 --precision fp16") == 0);
  CHECK(espalier.json().at("precision") == "fp16");
  CHECK(espalier.json().at("loss_scale").get<double>() > 0);
  CHECK(espalier.json().at("skipped_steps").get<int>() >= 0);
  CHECK(espalier(run + espalier.file("b") + " --epochs 2 --precision fp16 --resume " + model) == 0);
  CHECK(espalier(run + espalier.file("b") + " --epochs 2 --resume " + model) == 5);
  CHECK(espalier(run + espalier.file("b") + " --epochs 2 --precision fp8") == 2);
  CHECK(espalier.text("err").find("--precision: fp8 not in {fp32,tf32,bf16,fp16}") != std::string::npos);
  CHECK(espalier("train --help") == 0);
  CHECK(espalier.text("out").find("--precision TEXT:{fp32,tf32,bf16,fp16}=fp32") != std::string::npos);
  REQUIRE(espalier("eval " + model + " --json --precision fp16" + data) == 0);
  CHECK(espalier.json().at("precision") == "fp16");
  REQUIRE(espalier("bench --model lenet-300-100 --batches 2 --json --precision fp16") == 0);
  CHECK(espalier.json().at("bench").at(0).at("formats").dump().find("handwritten fp16") != std::string::npos);
}

TEST_CASE("espalier: each kind of failure has its exit code and one line that names the culprit") {
  const Program espalier;
  CHECK(espalier("--help") == 0);
  CHECK(espalier("--device-info --json") == 0);
  CHECK(espalier.json().contains("name"));
  CHECK(espalier("") == 2);
  CHECK(espalier("train --model nothing") == 2);
  CHECK(espalier("train --epochs -1 --run-dir " + espalier.file("c") + espalier.data_option()) == 2);
  CHECK(espalier("train --epochs 1 --batch 16 --run-dir " + espalier.file("c") + " --data-dir " +
                 espalier.file("none")) == 4);
  CHECK(espalier("eval " + espalier.file("none.safetensors")) == 5);
  CHECK(espalier("inspect " + espalier.file("")) == 5);  // a folder
  CHECK(espalier("bench --model lenet") == 5);
  CHECK(espalier.text("err").find("lenet: is no file and no model of the zoo, which has ") != std::string::npos);
  CHECK(espalier("bench --model lenet-5 --batch 0") == 2);
  CHECK(espalier.text("err").starts_with("--batch: Value 0 is too small\n"));
  CHECK(WEXITSTATUS(std::system(ESPALIER_PROGRAM " --device-info >/dev/full 2>/dev/null")) == 5);
  CHECK(espalier("eval " + espalier.file("data/train-labels-idx1-ubyte")) == 5);
}

}  // namespace
}  // namespace espalier
