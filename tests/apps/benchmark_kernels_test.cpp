// The kernel benchmark as its user meets it: its list, its rows, and the counters it explains.
#include <doctest/doctest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/temporary_folder.h"

namespace espalier {
namespace {

struct Benchmark {
  test::TemporaryFolder folder;

  std::string file(const std::string& name) const { return (folder.path() / name).string(); }
  int operator()(const std::string& arguments) const {
    const std::string command = ESPALIER_BENCHMARK " " + arguments + " >" + file("out") + " 2>" + file("err");
    return WEXITSTATUS(std::system(command.c_str()));
  }
  std::string text(const std::string& name = "out") const {
    std::ifstream stream(file(name));
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  nlohmann::json json() const { return nlohmann::json::parse(text("json")); }
  bool says(const std::string& words) const { return text().find(words) != std::string::npos; }
};

// One launch of a product of 64 x 64 x 64 in two blocks, as an emulator writes it; "N5...E" is a mangled name.
constexpr const char* kCounters = R"({"kernels": [
  {"name": "_ZN8espalier7kernels12_GLOBAL__N_111gemm_kernelIfEEvPKf", "grid": [2, 1, 1], "block": [128, 1, 1],
   "launches": 2, "warp_instructions": 24000, "thread_flops": 1048576, "tensor_flops": 0,
   "classes": {"fp32_fma": 16384, "fp32_add": 0, "fp32_mul": 0, "move": 3000, "param_load": 1000, "tensor_mma": 0},
   "global_load": {"requests": 512, "sectors": 4096, "ideal_sectors": 4096.0, "unique_bytes": 65536},
   "global_store": {"requests": 256, "sectors": 2048, "ideal_sectors": 1024.0, "unique_bytes": 32768},
   "shared_load": {"wavefronts": 4096, "ideal_wavefronts": 4096},
   "shared_store": {"wavefronts": 2048, "ideal_wavefronts": 1024}}]})";

TEST_CASE("benchmark_kernels: --list names cases of every family, --filter narrows it by words or by one whole name") {
  const Benchmark benchmark;
  REQUIRE(benchmark("--list") == 0);
  for (const char* name : {"gemm: ", "conv2d_forward: ", "add: ", "softmax_cross_entropy: ", "max_pool2d_forward: ",
                           "sgd_update: ", "keep_highest: ", "csr_spmm, 90 %: "}) {
    CAPTURE(name);
    CHECK(benchmark.says(name));
  }
  REQUIRE(benchmark("--list --filter 'lenet-5 sgd'") == 0);
  CHECK(benchmark.text() == "sgd_update: lenet-5, momentum, masked\n");
  REQUIRE(benchmark("--list --filter 'gather_batch: 28 x 28, batch 128'") == 0);
  CHECK(benchmark.text() == "gather_batch: 28 x 28, batch 128\n");
}

TEST_CASE("benchmark_kernels: a table that names the device, and the same rows as JSON") {
  const Benchmark benchmark;
  REQUIRE(benchmark("--filter 'gemm: lenet-5 dense_2, batch 128, y' --flush 0 --json " + benchmark.file("json")) == 0);
  CHECK(benchmark.says("| gemm "));
  const nlohmann::json document = benchmark.json();
  CHECK(benchmark.says(document.at("device").get<std::string>()));
  REQUIRE(document.at("rows").size() >= 2);
  const nlohmann::json ours = document.at("rows")[0], vendor = document.at("rows")[1];
  CHECK(ours.at("by") == "ours");
  const double us = ours.at("median_us").get<double>();
  CHECK(ours.at("gflops").get<double>() == doctest::Approx(2e-3 * 128 * 10 * 500 / us));
  CHECK(vendor.at("times_ours").get<double>() == doctest::Approx(vendor.at("median_us").get<double>() / us));
}

TEST_CASE("benchmark_kernels: counters per launch, as ratios to the ideal, with modelled times") {
  const Benchmark benchmark;
  std::ofstream(benchmark.file("counters")) << kCounters;
  REQUIRE(benchmark("--counters " + benchmark.file("counters") + " --json " + benchmark.file("json")) == 0);
  CHECK(benchmark.says("gemm_kernel"));
  CHECK(benchmark.says("2 x 128"));
  CHECK(benchmark.says("81.9 %"));  // 16384 of 24000 - 4000 instructions
  CHECK(benchmark.says("modelled"));
  const nlohmann::json kernel = benchmark.json().at("counters").at(0).at("kernels").at(0);
  CHECK(kernel.at("warp_instructions") == 12000);
  CHECK(kernel.at("sectors") == 3072);
  CHECK(kernel.at("ideal_sectors") == 2560);
  CHECK(kernel.at("modelled").at("a100").at("bound") == "floor");
}

TEST_CASE("benchmark_kernels: counters of a known case stand beside its ideal work") {
  const Benchmark benchmark;
  std::string document = R"({"cases": [{"name": "gemm: 1024 x 1024 x 1024", )";
  std::ofstream(benchmark.file("counters")) << document + std::string(kCounters).substr(1) + "]}";
  REQUIRE(benchmark("--counters " + benchmark.file("counters") + " --json " + benchmark.file("json")) == 0);
  CHECK(benchmark.says("the roofline"));
  CHECK(benchmark.json().at("counters").at(0).at("ideal").at("flops") == 2.0 * 1024 * 1024 * 1024);
  CHECK(benchmark("--counters " + benchmark.file("nothing")) == 1);
  std::ofstream(benchmark.file("broken")) << "{\"kernels\": [{}]}";
  CHECK(benchmark("--counters " + benchmark.file("broken")) == 1);
}

}  // namespace
}  // namespace espalier
