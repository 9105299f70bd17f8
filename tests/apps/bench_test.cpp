// bench and explain as their user meets them: tables, JSON, CSV and picture; every time says whose it is.
#include <doctest/doctest.h>

#include <set>
#include <sstream>
#include <vector>

#include "tests/support/program.h"

namespace espalier {
namespace {

TEST_CASE("espalier bench: each format beside the dense network, as JSON, CSV and picture") {
  const test::Program espalier;
  REQUIRE(espalier("bench lenet-300-100 --batch 1 3 --allow fp16 --json --csv " + espalier.file("csv") + " --svg " +
                   espalier.file("svg")) == 0);
  const nlohmann::json bench = espalier.json().at("bench");
  REQUIRE(bench.size() == 2);
  std::set<std::string> names;
  for (const nlohmann::json& one : bench.at(1).at("formats")) {
    names.insert(one.at("format"));
    if (one.contains("note")) continue;  // no layer can take it
    CHECK(one.at("median_us").get<double>() > 0);
    CHECK(one.at("lower_quartile_us") <= one.at("upper_quartile_us"));
    const bool one_launch = one.at("layers").at(0).at("layer") == "network";
    CHECK(one.at("layers").size() == (one_launch ? 1 : 3));
  }
  for (const char* name : {"dense fp32", "dense fp16", "csr", "fused csr", "plan"}) CHECK(names.contains(name));
  const std::string device = espalier.json().at("device").at("name");
  CHECK(bench.at(0).at("timing") == device);

  const std::string csv = espalier.text("csv"), svg = espalier.text("svg");
  CHECK(csv.starts_with("model,timing,batch,network,layer,format,median_us"));
  CHECK(csv.find("\"lenet-300-100\",\"" + device + "\",3,\"csr\",\"all\"") != std::string::npos);
  CHECK(csv.find("\"csr\",\"dense_3\"") != std::string::npos);
  CHECK(svg.starts_with("<svg "));
  CHECK(svg.find(device) != std::string::npos);
  CHECK(svg.find(">csr</text>") != std::string::npos);
  CHECK(svg.find(">1/2x</text>") != std::string::npos);
  CHECK(svg.find("nan") == std::string::npos);
}

TEST_CASE("espalier bench: what cannot be written is refused before anything is timed") {
  const test::Program espalier;
  for (const char* option : {"--csv ", "--svg "}) {
    CHECK(espalier("bench lenet-300-100 --batch 1 " + (option + espalier.file("no/such"))) == 5);
    CHECK(espalier.text("err").find(espalier.file("no/such") + ": cannot be created") != std::string::npos);
    CHECK(espalier.text("out").empty());
  }
}

TEST_CASE("espalier bench: a network in one launch is set beside the whole dense one, not beside its first layer") {
  const test::Program espalier;
  REQUIRE(espalier("bench lenet-300-100 --batch 3 --allow fp32 --json --csv " + espalier.file("csv")) == 0);
  const nlohmann::json bench = espalier.json().at("bench").at(0);
  nlohmann::json dense, fused;
  for (const nlohmann::json& one : bench.at("formats")) {
    if (one.at("format") == "dense fp32") dense = one;
    if (one.at("format") == "fused csr") fused = one;
  }
  const nlohmann::json network = fused.at("layers").at(0);
  CHECK(network.at("layer") == "network");
  const double dense_us = bench.at("dense_us"), us = network.at("median_us"),
               speedup = network.at("speedup_dense_fp32");
  CHECK(speedup * us == doctest::Approx(dense_us));
  std::int64_t macs = 0, kept = 0;
  for (const nlohmann::json& layer : dense.at("layers")) {
    macs += layer.at("macs").get<std::int64_t>(), kept += layer.at("macs_kept").get<std::int64_t>();
  }
  CHECK(network.at("macs") == macs);
  CHECK(network.at("macs_kept") == kept);
  const std::string csv = espalier.text("csv"), head = "\"fused csr\",\"network\",\"fused csr\",";
  const std::size_t line = csv.find(head);
  REQUIRE(line != std::string::npos);
  std::istringstream cells(csv.substr(line + head.size(), csv.find('\n', line) - line - head.size()));
  std::vector<double> values;  // median, quartiles, speed-ups, limit, macs, macs_kept, bytes
  for (std::string cell; std::getline(cells, cell, ',');) values.push_back(cell.empty() ? 0.0 : std::stod(cell));
  REQUIRE(values.size() == 9);
  CHECK(values[3] * values[0] == doctest::Approx(dense_us).epsilon(1e-4));
  CHECK(values[6] == double(macs));
}

TEST_CASE("espalier bench --gpu: modelled, and nothing else") {
  const test::Program espalier;
  REQUIRE(espalier("bench lenet-300-100 --batch 2 --layers --gpu a100") == 0);
  CHECK(espalier.text("out").find("times: A100, modelled") != std::string::npos);
  REQUIRE(espalier("bench lenet-300-100 --batch 2 --gpu t4 --json") == 0);
  const nlohmann::json modelled = espalier.json();
  for (const nlohmann::json& one : modelled.at("bench").at(0).at("formats")) {
    CHECK(one.at("format") != "dense tf32");  // a T4 has none
    if (!one.contains("note")) CHECK(one.at("limit_us") <= one.at("median_us"));
  }
  CHECK(espalier("bench --batch 2 --gpu a101") == 2);
  CHECK(espalier("bench --batch 0") == 2);
  CHECK(espalier("bench no-such-file --batch 2") == 5);
}

TEST_CASE("espalier explain: every layer's candidates, from the cache the second time") {
  const test::Program espalier;
  const test::EnvironmentScope cache("XDG_CACHE_HOME", espalier.file("cache").c_str());
  const std::string plans = espalier.file("cache/espalier/plans");
  REQUIRE(espalier("explain lenet-300-100 --batch 2 --no-plan-cache") == 0);
  CHECK(!std::filesystem::exists(plans));
  REQUIRE(espalier("explain lenet-300-100 --batch 2 --json") == 0);
  CHECK(std::filesystem::exists(plans));
  const nlohmann::json first = espalier.json();
  REQUIRE(espalier("explain lenet-300-100 --batch 2 --json") == 0);
  const nlohmann::json second = espalier.json();
  const nlohmann::json& layer = first.at("layers").at(1);
  CHECK(layer.at("layer") == "dense_1");
  for (const nlohmann::json& one : layer.at("candidates")) {
    CHECK((one.at("us").is_null() || one.at("bytes") > one.at("weight_bytes")));
  }
  for (std::size_t i = 0; i < first.at("layers").size(); ++i) {  // bit for bit
    CHECK(second.at("layers").at(i).at("candidates") == first.at("layers").at(i).at("candidates"));
  }
  CHECK(first.at("timing") == first.at("device").at("name"));
  REQUIRE(espalier("explain lenet-300-100 --batch 2 --gpu h100") == 0);
  const std::string text = espalier.text("out");
  for (const char* words : {"H100, modelled", "dense_3: weight [10, 100]", "launch-bound", "not eligible"}) {
    CAPTURE(words);
    CHECK(text.find(words) != std::string::npos);
  }
}

TEST_CASE("espalier prune --speedup: rates for a time, or one error that says what can be reached") {
  const test::Program espalier;
  const std::string data = espalier.data_option() + "--json --batch 16 --run-dir " + espalier.file("a");
  REQUIRE(espalier("train --model lenet-300-100 --epochs 1" + data) == 0);
  const std::string prune = "prune " + espalier.file("a/model.safetensors") + " --epochs 1 --gpu t4" + data;
  REQUIRE(espalier(prune + " --latency-batch 512 --speedup 1.2") == 0);
  const nlohmann::json report = espalier.json(), latency = report.at("latency");
  CHECK(latency.at("timing") == "T4, modelled");
  CHECK(latency.at("batch") == 512);
  CHECK(latency.at("us") <= latency.at("goal_us"));
  for (const nlohmann::json& layer : report.at("layers").at("layers")) {
    const double rate = latency.at("rates").at(layer.at("name").get<std::string>());
    CHECK(layer.at("sparsity").get<double>() == doctest::Approx(rate).epsilon(0.01));
  }
  const std::string own = espalier.file("a/pruned.safetensors"), resume = " --resume ";
  REQUIRE(espalier(prune + " --latency-batch 512 --speedup 1.1" + resume + own) == 0);  // to the rates of its run
  CHECK(espalier.json().at("layers") == report.at("layers"));
  CHECK(espalier(prune + " --speedup 1.1 --pattern coupled-channel" + resume + own) == 5);
  CHECK(espalier.text("err").find("holds no widths that a search found") != std::string::npos);
  CHECK(espalier(prune + " --latency-ms 0.0001") == 2);
  CHECK(espalier.text("err").find("0.1 µs at batch 16 cannot be reached: best is") != std::string::npos);
  CHECK(espalier(prune + " --latency-ms 1 --speedup 2") == 2);
  CHECK(espalier(prune + " --speedup 1.2 --channels 0.5") == 2);
  REQUIRE(espalier(prune + " --latency-batch 512 --speedup 1.1 --ignore dense_3.weight") == 0);
  CHECK(!espalier.json().at("latency").at("rates").contains("dense_3.weight"));
}

}  // namespace
}  // namespace espalier
