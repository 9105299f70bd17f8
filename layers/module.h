// A layer or model: parameters, buffers and a differentiable call. A new layer derives from Module, overrides
// operator() and, if it has state, the protected lists; everything else (names, training mode, checkpoints) follows.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/autograd/variable.h"
#include "core/train/parameter.h"

namespace espalier {

// A module in words, enough to build it again: {"conv2d", {{"filters", 32}, ...}, children}.
struct Description {
  using Attribute = std::variant<std::int64_t, double, std::string>;
  std::string kind;
  std::map<std::string, Attribute> attributes;
  std::vector<Description> children;
};

class Module {
 public:
  Module() = default;
  Module(Module&&) = default;
  Module& operator=(Module&&) = default;
  virtual ~Module() = default;
  virtual Variable operator()(const Variable& x) = 0;

  std::vector<Parameter*> parameters();  // own first, then the children's, depth first; pointers stay valid
  std::vector<Buffer*> buffers();
  std::vector<Module*> modules();    // this one and all below, in the same order
  void set_training(bool training);  // this module and all below
  bool training() const { return training_; }
  // Gives this module its place in the model: "conv2d_1" makes its weight "conv2d_1.weight".
  void set_name(const std::string& name);
  const std::string& name() const { return name_; }

  virtual std::string_view kind() const { return "layer"; }  // "conv2d": the stem of its name
  virtual Description describe() const;                      // throws InvalidArgument where a layer has no description

 protected:
  virtual std::vector<Parameter*> own_parameters() { return {}; }
  virtual std::vector<Buffer*> own_buffers() { return {}; }
  virtual std::vector<Module*> children() { return {}; }

 private:
  std::string name_;
  bool training_ = true;
};

}  // namespace espalier
