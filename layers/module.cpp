#include "layers/module.h"

#include "kernels/require.h"

namespace espalier {

std::vector<Parameter*> Module::parameters() {
  std::vector<Parameter*> all = own_parameters();
  for (Module* child : children()) {
    for (Parameter* parameter : child->parameters()) all.push_back(parameter);
  }
  return all;
}

std::vector<Buffer*> Module::buffers() {
  std::vector<Buffer*> all = own_buffers();
  for (Module* child : children()) {
    for (Buffer* buffer : child->buffers()) all.push_back(buffer);
  }
  return all;
}

std::vector<Module*> Module::modules() {
  std::vector<Module*> all{this};
  for (Module* child : children()) {
    for (Module* module : child->modules()) all.push_back(module);
  }
  return all;
}

void Module::set_training(bool training) {
  training_ = training;
  for (Module* child : children()) child->set_training(training);
}

void Module::set_name(const std::string& name) {
  name_ = name;
  const auto renamed = [&](const std::string& old) { return name + "." + old.substr(old.rfind('.') + 1); };
  for (Parameter* parameter : own_parameters()) parameter->name = renamed(parameter->name);
  for (Buffer* buffer : own_buffers()) buffer->name = renamed(buffer->name);
  std::map<std::string_view, int> seen;
  for (Module* child : children()) {
    const std::string place = std::string(child->kind()) + "_" + std::to_string(++seen[child->kind()]);
    child->set_name(name.empty() ? place : name + "." + place);
  }
}

Description Module::describe() const {
  require(false, name_, " (", std::string(kind()), ") has no description; override describe() to save such a model");
  return {};
}

}  // namespace espalier
