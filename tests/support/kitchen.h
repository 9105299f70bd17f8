// Carries out recipes with the espalier program, on synthetic images in a folder of its own.
#pragma once
#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "core/data/synthetic.h"
#include "tests/support/temporary_folder.h"

namespace espalier::test {

struct Kitchen {
  TemporaryFolder folder;
  Kitchen() { data::write_synthetic(file("data"), {.train = 48, .test = 16}); }
  std::string file(const std::string& name) const { return (folder.path() / name).string(); }
  std::string recipe(const std::string& name, const std::string& text) const {
    std::ofstream(file(name)) << text;
    return file(name);
  }
  int operator()(const std::string& arguments) const {
    const std::string command = ESPALIER_PROGRAM " " + arguments + " --json --data-dir " + file("data") +
                                " --run-dir " + file("run") + " >" + file("out") + " 2>" + file("err");
    return WEXITSTATUS(std::system(command.c_str()));
  }
  std::string text(const std::string& name) const {
    std::ifstream stream(file(name));
    return std::string(std::istreambuf_iterator<char>(stream), {});
  }
};

}  // namespace espalier::test
