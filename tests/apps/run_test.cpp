// The front door: where --cpu and --cuda may stand, and what `profile` asks of Nsight and compute-sanitizer. Programs
// that print their arguments stand in for the tools, a cmake that builds nothing for the build.
#include <doctest/doctest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <string>

#include "tests/support/source_dir.h"
#include "tests/support/temporary_folder.h"

namespace espalier {
namespace {

struct Run {
  test::TemporaryFolder folder;

  Run() {
    stub("cmake", "[ \"$1\" = --version ] && echo 'cmake version 3.25.1'; exit 0");
    stub("nvcc", "exit 0");
    stub("nvidia-smi", "exit 0");
    for (const char* tool : {"nsys", "ncu", "compute-sanitizer"}) {
      stub(tool, "printf ' %s' \"$(basename \"$0\")\" \"$@\" >&2; echo >&2");
    }
  }
  void stub(const std::string& name, const std::string& body) const {
    const std::filesystem::path file = folder / name;
    std::ofstream(file) << "#!/bin/sh\n" << body << "\n";
    std::filesystem::permissions(file, std::filesystem::perms::owner_all);
  }
  int operator()(const std::string& arguments, const std::string& environment = "") const {
    const std::string command = "cd " + folder.path().string() + " && PATH=" + folder.path().string() + ":$PATH " +
                                environment + " " + test::source_dir() + "/run " + arguments + " >out 2>&1";
    return WEXITSTATUS(std::system(command.c_str()));
  }
  bool says(const std::string& words) const {
    std::ifstream stream(folder / "out");
    return std::string(std::istreambuf_iterator<char>(stream), {}).find(words) != std::string::npos;
  }
};

TEST_CASE("run: the build may be forced before and after the command; an unknown command is a wrong usage") {
  const Run run;
  for (const char* arguments : {"help", "--cpu help", "help --cuda", ""}) {
    CAPTURE(arguments);
    CHECK(run(arguments) == 0);
    CHECK(run.says("./run mnist"));
  }
  CHECK(run("build --cpu") == 0);
  CHECK(run("build --cuda") == 0);
  CHECK(run("nonsense --cpu") == 2);
}

TEST_CASE("run: it knows every command of the espalier program") {
  const Run run;
  std::ifstream stream(std::string(test::source_dir()) + "/apps/espalier.cpp");
  const std::string source(std::istreambuf_iterator<char>(stream), {});
  const std::regex known("(\\w+)_command\\(app\\)");
  int commands = 0;
  for (std::sregex_iterator found(source.begin(), source.end(), known), end; found != end; ++found, ++commands) {
    const std::string command = (*found)[1];
    CAPTURE(command);
    run(command + " --help");
    CHECK(!run.says("unknown command"));
    REQUIRE(run("help") == 0);
    CHECK(run.says(command));
  }
  CHECK(commands >= 11);
}

TEST_CASE("run profile: each tool gets its flags, the profiling build and the espalier command") {
  const Run run;
  REQUIRE(run("profile", "ESPALIER_RANGE='conv2d_1 forward'") == 0);
  CHECK(run.says("nsys profile --trace=cuda,nvtx,cublas --cuda-graph-trace=node"));
  CHECK(run.says("build/cuda-profile/espalier bench --model lenet-5 --batches 128"));
  CHECK(run.says("--format csv"));
  CHECK(run.says("--filter-nvtx conv2d_1 forward@espalier"));
  REQUIRE(run("profile ncu train --epochs 1", "ESPALIER_RANGE='conv2d_1 forward' ESPALIER_KERNELS=gemm") == 0);
  CHECK(run.says("--nvtx --nvtx-include espalier@conv2d_1 forward/"));
  CHECK(run.says("--kernel-name regex:gemm"));
  CHECK(run.says("espalier train --epochs 1"));
  CHECK(run.says("--csv --page details"));
  for (const char* tool : {"memcheck", "racecheck", "initcheck", "synccheck"}) {
    CAPTURE(tool);
    REQUIRE(run(std::string("profile ") + tool) == 0);
    CHECK(run.says(std::string("compute-sanitizer --tool ") + tool));
  }
}

TEST_CASE("run profile: where no GPU answers it says so") {
  const Run run;
  run.stub("nvidia-smi", "exit 1");
  run("profile ncu nonsense");
  CHECK(run.says("no GPU answers, and ncu needs one; writing a trace instead"));
  run("profile memcheck nonsense --cpu");
  CHECK(run.says("--cpu asks for the CPU build"));
}

}  // namespace
}  // namespace espalier
