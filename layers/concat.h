// y = the results of several branches, each applied to x, one behind the other along the channels: the block of
// Inception networks (Szegedy et al. 2015, section 4) and, with an empty branch that hands x on, of DenseNets (Huang
// et al. 2017, section 3). The branches may differ in channels, in nothing else.
#pragma once
#include <concepts>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "layers/module.h"

namespace espalier {

struct ConcatFunction final : Function {
  std::string_view name() const override { return "concat"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  Tensors backward(const Tensor& output_gradient, const Context& context) const override;
};

Variable concat(const std::vector<Variable>& parts);  // along axis 1; throws InvalidArgument where they do not fit

class Concat : public Module {
 public:
  template <class... Branches>
  requires(std::derived_from<std::remove_cvref_t<Branches>, Module>&&...) explicit Concat(Branches&&... branches) {
    (branches_.push_back(std::make_unique<std::remove_cvref_t<Branches>>(std::forward<Branches>(branches))), ...);
    check_and_name();
  }
  explicit Concat(std::vector<std::unique_ptr<Module>> branches);
  Concat(Concat&&) = default;
  Concat& operator=(Concat&&) = default;

  Variable operator()(const Variable& x) override;
  std::string_view kind() const override { return "concat"; }
  Description describe() const override;

 protected:
  std::vector<Module*> children() override;

 private:
  void check_and_name();
  std::vector<std::unique_ptr<Module>> branches_;
};

}  // namespace espalier
