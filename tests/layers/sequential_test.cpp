#include "layers/sequential.h"

#include <doctest/doctest.h>

#include "kernels/require.h"

namespace espalier {
namespace {

// A layer with one weight that passes its input through: names and lists are what is tested here.
class Passing : public Module {
 public:
  explicit Passing(std::string kind) : kind_(std::move(kind)), weight_("weight", Tensor::zeros({2, 2})) {}
  Variable operator()(const Variable& x) override { return x; }
  std::string_view kind() const override { return kind_; }
  Description describe() const override { return {kind_, {{"width", std::int64_t(2)}}, {}}; }

 protected:
  std::vector<Parameter*> own_parameters() override { return {&weight_}; }
  std::vector<Buffer*> own_buffers() override { return {&counter_}; }

 private:
  std::string kind_;
  Parameter weight_;
  Buffer counter_{"counter", Tensor::zeros({1})};
};

TEST_CASE("sequential: layers are named by kind and place, nested ones by their path") {
  Sequential model(Passing("dense"), Passing("conv2d"), Sequential(Passing("dense")), Passing("dense"));
  std::vector<std::string> names;
  for (const Parameter* parameter : model.parameters()) names.push_back(parameter->name);
  CHECK(names ==
        std::vector<std::string>{"dense_1.weight", "conv2d_1.weight", "sequential_1.dense_1.weight", "dense_2.weight"});
  CHECK(model.buffers().back()->name == "dense_2.counter");
}

TEST_CASE("sequential: training mode reaches every layer, and parameters stay put when the model moves") {
  Sequential model(Passing("dense"), Sequential(Passing("dense")));
  const std::vector<Parameter*> before = model.parameters();
  model.set_training(false);
  CHECK(!model[0].training());
  Sequential moved = std::move(model);
  CHECK(moved.parameters() == before);
}

TEST_CASE("sequential: describes its layers in order; a layer without a description says so") {
  Sequential model(Passing("dense"), Passing("conv2d"));
  const Description description = model.describe();
  REQUIRE(description.children.size() == 2);
  CHECK(description.children[1].kind == "conv2d");
  struct Nameless : Module {
    Variable operator()(const Variable& x) override { return x; }
  };
  CHECK_THROWS_AS(Sequential(Nameless()).describe(), InvalidArgument);
}

}  // namespace
}  // namespace espalier
