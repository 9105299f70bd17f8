// What a command tells: a text for people, or under --json exactly one JSON document on standard output.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace CLI {
class App;
}

namespace espalier::apps {

struct Output {
  bool json = false, quiet = false;
};

void add_output_options(CLI::App& app, Output& output);

// For people: nothing under --quiet; under --json on standard error, which leaves standard output to the document.
void say(const Output& output, const std::string& text);
void print_result(const Output& output, const nlohmann::json& result);  // nothing unless --json

nlohmann::json device_json();
std::string timing_name();  // whose times these are: the GPU's name, or "CPU emulation"
void print_device(const Output& output);

}  // namespace espalier::apps
