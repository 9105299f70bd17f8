// The benchmark of sparse products as its user meets it: each format beside dense, random masks and those of a model.
#include <doctest/doctest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "kernels/sparse/two_four_tensor_core.h"
#include "layers/model_file.h"
#include "layers/zoo.h"
#include "pruning/pruner.h"
#include "tests/support/temporary_folder.h"

namespace espalier {
namespace {

struct Benchmark {
  test::TemporaryFolder folder;

  std::string file(const std::string& name) const { return (folder.path() / name).string(); }
  int operator()(const std::string& arguments) const {
    return WEXITSTATUS(std::system((ESPALIER_BENCHMARK_SPARSE " " + arguments + " --json " + file("json") + " >" +
                                    file("out") + " 2>" + file("err"))
                                       .c_str()));
  }
  nlohmann::json json() const {
    std::ifstream stream(file("json"));
    return nlohmann::json::parse(stream);
  }
};

TEST_CASE("benchmark_sparse: each format on the masks it wants, beside the dense product") {
  const Benchmark benchmark;
  REQUIRE(benchmark("--layer lenet-300 --batch 2 --sparsity 0.5 --gpu a100") == 0);
  std::set<std::string> seen;
  for (const nlohmann::json& row : benchmark.json()) {
    seen.insert(row.at("mask").get<std::string>() + ", " + row.at("format").get<std::string>());
    CHECK(row.at("timing") == "A100, modelled");
    CHECK(row.at("median_us").get<double>() >= row.at("limit_us").get<double>());
    CHECK(row.at("speedup_dense").get<double>() > 0);
    CHECK(row.at("sparsity").get<double>() == doctest::Approx(0.5).epsilon(0.02));
  }
  for (const char* one :
       {"random, dense", "random, csr", "block-8, block csr 8x8", "vector-16, vector 16x1", "2:4, 2:4"}) {
    CAPTURE(one);
    CHECK(seen.contains(one));
  }
  CHECK(benchmark("--gpu none") == 1);
}

TEST_CASE("benchmark_sparse: formats of tensor cores beside the dense product of their precision") {
  const Benchmark benchmark;
  REQUIRE(benchmark("--layer lenet --batch 64 --sparsity 0.5 0.9 --precision fp16 --gpu a100") == 0);
  std::map<std::string, std::string> by;  // implementation by mask, format
  for (const nlohmann::json& row : benchmark.json()) {
    CHECK(row.at("precision") == "fp16");
    CHECK(row.at("speedup_dense").get<double>() > 0);
    by[row.at("layer").get<std::string>().substr(0, 7) + row.at("mask").get<std::string>() + ", " +
       row.at("format").get<std::string>()] = row.at("implementation");
  }
  CHECK(by["lenet-5random, dense"] == "handwritten fp16");
  CHECK(benchmark("--precision tf32 --gpu t4") == 1);  // it has no such products
  for (const char* one : {"lenet-5block-32, block csr 32x32", "lenet-52:4, 2:4", "lenet-3128:2:8, 128:2:8"}) {
    CAPTURE(one);
    if (!simt::kEmulated && kernels::has_sparse_tensor_cores()) CHECK(by[one] == "handwritten fp16");
  }
}

TEST_CASE("benchmark_sparse: measured on a checkpoint's own masks") {
  const Benchmark benchmark;
  Sequential model = zoo::build("lenet-300-100", {1, 28, 28});
  pruning::Pruner(model, {}).prune_to(0.97);
  save_model(benchmark.file("model"), model, {});
  REQUIRE(benchmark(benchmark.file("model") + " --batch 3") == 0);
  std::set<std::string> layers;
  std::map<std::string, std::set<std::string>> of_gradients;  // implementations by format
  for (const nlohmann::json& row : benchmark.json()) {
    layers.insert(row.at("layer"));
    const std::string format = row.at("format");
    if (format.ends_with(", dw")) {
      of_gradients[format].insert(row.at("implementation").get<std::string>());
      CHECK(row.at("speedup_vendor_sparse").get<double>() > 0);
    }
    CHECK(row.at("mask") == "checkpoint");
    CHECK(row.at("median_us").get<double>() > 0);
    CHECK(row.at("timing").get<std::string>().find("modelled") == std::string::npos);
  }
  CHECK(layers == std::set<std::string>{"dense_1", "dense_2", "dense_3"});
  CHECK(of_gradients["dense, dw"].size() == 2);
  CHECK(of_gradients["csr, dw"].size() == 2);
}

TEST_CASE("benchmark_sparse: what cannot be written is refused before anything is timed") {
  const Benchmark benchmark;
  std::filesystem::create_directory(benchmark.file("json"));
  CHECK(benchmark("--layer no-such-layer --gpu a100") == 1);
  std::ifstream stream(benchmark.file("err"));
  const std::string text(std::istreambuf_iterator<char>(stream), {});
  CHECK(text.find("is a folder") != std::string::npos);  // not that there is no such layer
}

TEST_CASE("benchmark_sparse: a layer that is not there is refused with the names of those that are") {
  const Benchmark benchmark;
  CHECK(benchmark("--layer dense_9 --gpu a100") == 1);
  std::ifstream stream(benchmark.file("err"));
  const std::string text(std::istreambuf_iterator<char>(stream), {});
  CHECK(text.find("no layer that was timed has \"dense_9\" in its name") != std::string::npos);
  CHECK(text.find("lenet-300") != std::string::npos);
  CHECK(!std::filesystem::exists(benchmark.file("json")));
}

}  // namespace
}  // namespace espalier
