// Carries out recipes with the espalier program, with JSON for an answer and one folder for all runs.
#pragma once
#include <fstream>
#include <string>

#include "tests/support/program.h"

namespace espalier::test {

struct Kitchen : Program {
  std::string recipe(const std::string& name, const std::string& text) const {
    std::ofstream(file(name)) << text;
    return file(name);
  }
  int operator()(const std::string& arguments) const {
    return Program::operator()(arguments + " --json --run-dir " + file("run") + data_option());
  }
};

}  // namespace espalier::test
