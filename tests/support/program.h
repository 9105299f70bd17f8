// The espalier program with a folder for its files and a small made-up data set.
#pragma once
#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "core/data/synthetic.h"
#include "tests/support/source_dir.h"
#include "tests/support/temporary_folder.h"

namespace espalier::test {

struct Program {
  TemporaryFolder folder;

  Program() { data::write_synthetic(file("data"), {.train = 48, .test = 16}); }
  std::string file(const std::string& name) const { return (folder.path() / name).string(); }
  // The exit code; what the program prints goes to the file "out".
  int operator()(const std::string& arguments) const {
    const std::string command = ESPALIER_PROGRAM " " + arguments + " >" + file("out") + " 2>" + file("err");
    return WEXITSTATUS(std::system(command.c_str()));
  }
  std::string text(const std::string& name) const {
    std::ifstream stream(file(name));
    return std::string(std::istreambuf_iterator<char>(stream), {});
  }
  nlohmann::json json(const std::string& name = "out") const { return nlohmann::json::parse(text(name)); }
  std::string data_option() const { return " --data-dir " + file("data") + " "; }
};

}  // namespace espalier::test
