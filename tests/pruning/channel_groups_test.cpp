#include "pruning/channel_groups.h"

#include <doctest/doctest.h>

#include "layers/layers.h"

namespace espalier::pruning {
namespace {

using Slices = std::vector<ChannelSlice>;

const ChannelGroup& named(const std::vector<ChannelGroup>& groups, const std::string& name) {
  for (const ChannelGroup& group : groups) {
    if (group.name == name) return group;
  }
  throw std::runtime_error("no group " + name + " among\n" + to_string(groups));
}

TEST_CASE("channel groups: a chain; Flatten spreads a channel over its features, input and output stay") {
  Sequential model(Conv2d(2, 3), BatchNorm2d(3), Relu(), MaxPool2d(2), Flatten(), Dense(3 * 9, 4), Relu(), Dense(4, 2));
  const auto groups = channel_groups(model, {1, 2, 8, 8});
  const ChannelGroup& maps = named(groups, "conv2d_1");
  REQUIRE(maps.channels.size() == 3);
  CHECK(maps.kept_because == "");
  CHECK(maps.channels[1] == Slices{{"conv2d_1.weight", 0, {1}},
                                   {"conv2d_1.bias", 0, {1}},
                                   {"batch_norm2d_1.gamma", 0, {1}},
                                   {"batch_norm2d_1.beta", 0, {1}},
                                   {"dense_1.weight", 1, {9, 10, 11, 12, 13, 14, 15, 16, 17}},
                                   {"batch_norm2d_1.running_mean", 0, {1}},
                                   {"batch_norm2d_1.running_variance", 0, {1}}});
  CHECK(named(groups, "dense_1").channels.size() == 4);
  CHECK(named(groups, "input").kept_because == "the model's input");
  CHECK(named(groups, "dense_2").kept_because == "the model's output");
  CHECK(to_string(groups).find("conv2d_1, 3 channels: made by conv2d_1.weight[0]") != std::string::npos);
  CHECK(to_string(groups).find("read by dense_1.weight[1] x 9\n") != std::string::npos);
}

TEST_CASE("channel groups: a residual addition ties both sides, a shortcut's too") {
  Sequential model(Conv2d(1, 4),
                   Residual(Sequential(Conv2d(4, 6, {.padding = 1}), Relu(), Conv2d(6, 4, {.padding = 1}))),
                   Residual(Conv2d(4, 5, {.kernel = 1}), Conv2d(4, 5, {.kernel = 1})), Flatten(), Dense(5 * 16, 2));
  const auto groups = channel_groups(model, {1, 1, 6, 6});
  CHECK(named(groups, "conv2d_1").channels[2] == Slices{{"conv2d_1.weight", 0, {2}},
                                                        {"conv2d_1.bias", 0, {2}},
                                                        {"residual_1.sequential_1.conv2d_1.weight", 1, {2}},
                                                        {"residual_1.sequential_1.conv2d_2.weight", 0, {2}},
                                                        {"residual_1.sequential_1.conv2d_2.bias", 0, {2}},
                                                        {"residual_2.conv2d_1.weight", 1, {2}},
                                                        {"residual_2.conv2d_2.weight", 1, {2}}});
  CHECK(named(groups, "residual_1.sequential_1.conv2d_1").channels.size() == 6);
  const ChannelGroup& sum = named(groups, "residual_2.conv2d_1");
  CHECK(sum.channels.size() == 5);
  CHECK(sum.channels[0].size() == 5);  // two weights, two biases, one reader
}

TEST_CASE("channel groups: joined branches keep their own channels, at their place in the reader") {
  Sequential model(Conv2d(1, 2), Concat(Sequential(), Conv2d(2, 3, {.kernel = 1})), Conv2d(5, 4), Flatten(),
                   Dense(4 * 4, 2));
  const auto groups = channel_groups(model, {1, 1, 6, 6});
  CHECK(named(groups, "conv2d_1").channels[1] == Slices{{"conv2d_1.weight", 0, {1}},
                                                        {"conv2d_1.bias", 0, {1}},
                                                        {"concat_1.conv2d_1.weight", 1, {1}},
                                                        {"conv2d_2.weight", 1, {1}}});
  CHECK(named(groups, "concat_1.conv2d_1").channels[1].back() == ChannelSlice{"conv2d_2.weight", 1, {3}});
}

TEST_CASE("channel groups: a depthwise convolution hands channels through, a grouped one ties its groups") {
  Sequential model(Conv2d(1, 4), Conv2d(4, 8, {.groups = 4}), Conv2d(8, 6, {.groups = 2}), Flatten(), Dense(6 * 4, 2));
  const auto groups = channel_groups(model, {1, 1, 8, 8});
  // Filters 2 and 3 of the depthwise layer belong to channel 1; the grouped layer ties channels i and i + 4: two of the
  // first layer's.
  CHECK(named(groups, "conv2d_1").channels.size() == 2);
  CHECK(named(groups, "conv2d_1").channels[1] == Slices{{"conv2d_1.weight", 0, {1, 3}},
                                                        {"conv2d_1.bias", 0, {1, 3}},
                                                        {"conv2d_2.weight", 0, {2, 3, 6, 7}},
                                                        {"conv2d_2.bias", 0, {2, 3, 6, 7}},
                                                        {"conv2d_3.weight", 1, {2, 3}}});
  CHECK(named(groups, "conv2d_3").channels.size() == 3);
  CHECK(named(groups, "conv2d_3").channels[0][0].indices == std::vector<std::int64_t>{0, 3});
}

TEST_CASE("channel groups: what a layer norm, an unknown layer or a layer called twice reads stays, and says why") {
  struct Twice : Module {
    Dense dense{4, 4};
    Variable operator()(const Variable& x) override { return dense(dense(x)); }

   protected:
    std::vector<Module*> children() override { return {&dense}; }
  };
  Sequential normed(Dense(3, 4), LayerNorm({4}), Dense(4, 2)), shared(Dense(3, 4), Twice(), Dense(4, 2));
  CHECK(named(channel_groups(normed, {1, 3}), "dense_1").kept_because == "layer_norm reads all channels");
  CHECK(named(channel_groups(shared, {1, 3}), "dense_1").kept_because == "a layer that is called twice");
}

}  // namespace
}  // namespace espalier::pruning
