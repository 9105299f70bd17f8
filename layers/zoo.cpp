#include "layers/zoo.h"

#include "kernels/require.h"
#include "layers/layers.h"

namespace espalier::zoo {
namespace {

struct Task {
  std::int64_t channels, height, width, classes;
  std::uint64_t seed;  // of the first layer; each later one adds its number
};

// What is left of a side after a valid convolution and the halving pool that follows it.
std::int64_t halved(std::int64_t side, std::int64_t kernel) {
  require(side > kernel, "zoo: an image side of ", side, " is too small for a ", kernel, " x ", kernel,
          " convolution and a pool");
  return (side - kernel + 1) / 2;
}

Sequential seed_cnn(const Task& task) {
  const std::int64_t height = halved(halved(task.height, 3), 3), width = halved(halved(task.width, 3), 3);
  return Sequential(Conv2d(task.channels, 32, {.seed = task.seed}), Relu(), MaxPool2d(2),
                    Conv2d(32, 64, {.seed = task.seed + 1}), Relu(), MaxPool2d(2), Flatten(),
                    Dense(64 * height * width, 64, {.seed = task.seed + 2}), Relu(), Dropout(0.2, task.seed),
                    Dense(64, task.classes, {.seed = task.seed + 3}));
}

Sequential lenet_5(const Task& task) {
  const std::int64_t height = halved(halved(task.height, 5), 5), width = halved(halved(task.width, 5), 5);
  return Sequential(Conv2d(task.channels, 20, {.kernel = 5, .seed = task.seed}), MaxPool2d(2),
                    Conv2d(20, 50, {.kernel = 5, .seed = task.seed + 1}), MaxPool2d(2), Flatten(),
                    Dense(50 * height * width, 500, {.seed = task.seed + 2}), Relu(),
                    Dense(500, task.classes, {.seed = task.seed + 3}));
}

Sequential lenet_5_relu(const Task& task) {
  const std::int64_t height = halved(halved(task.height, 5), 5), width = halved(halved(task.width, 5), 5);
  return Sequential(Conv2d(task.channels, 20, {.kernel = 5, .seed = task.seed}), Relu(), MaxPool2d(2),
                    Conv2d(20, 50, {.kernel = 5, .seed = task.seed + 1}), Relu(), MaxPool2d(2), Flatten(),
                    Dense(50 * height * width, 500, {.seed = task.seed + 2}), Relu(),
                    Dense(500, task.classes, {.seed = task.seed + 3}));
}

Sequential lenet_300_100(const Task& task) {
  return Sequential(Flatten(), Dense(task.channels * task.height * task.width, 300, {.seed = task.seed}), Relu(),
                    Dense(300, 100, {.seed = task.seed + 1}), Relu(),
                    Dense(100, task.classes, {.seed = task.seed + 2}));
}

Conv2d plain_conv(std::int64_t channels, std::int64_t filters, std::int64_t stride, std::uint64_t seed) {
  return Conv2d(channels, filters, {.stride = stride, .padding = 1, .bias = false, .seed = seed});
}

Sequential residual_body(std::int64_t channels, std::int64_t filters, std::int64_t stride, std::uint64_t seed) {
  return Sequential(plain_conv(channels, filters, stride, seed), BatchNorm2d(filters), Relu(),
                    plain_conv(filters, filters, 1, seed + 1), BatchNorm2d(filters));
}

Residual widening_block(std::int64_t channels, std::uint64_t seed) {  // twice the channels, half the sides
  return Residual(
      residual_body(channels, 2 * channels, 2, seed),
      Sequential(Conv2d(channels, 2 * channels, {.kernel = 1, .stride = 2, .bias = false, .seed = seed + 2}),
                 BatchNorm2d(2 * channels)));
}

Sequential resnet_small(const Task& task) {
  require(task.height == task.width && task.height >= 4,
          "zoo: resnet-small needs square images of at least 4 x 4, not ", task.height, " x ", task.width);
  const std::int64_t side = (task.height + 3) / 4;
  return Sequential(plain_conv(task.channels, 16, 1, task.seed), BatchNorm2d(16), Relu(),
                    Residual(residual_body(16, 16, 1, task.seed + 1)), Relu(), widening_block(16, task.seed + 3),
                    Relu(), widening_block(32, task.seed + 6), Relu(), AvgPool2d(side), Flatten(),
                    Dense(64, task.classes, {.seed = task.seed + 9}));
}

struct Entry {
  std::string_view name;
  Sequential (*make)(const Task&);
};
constexpr Entry kModels[] = {{"seed-cnn", seed_cnn},
                             {"lenet-5", lenet_5},
                             {"lenet-5-relu", lenet_5_relu},
                             {"lenet-300-100", lenet_300_100},
                             {"resnet-small", resnet_small}};

}  // namespace

const std::vector<std::string_view>& names() {
  static const std::vector<std::string_view> all = [] {
    std::vector<std::string_view> names;
    for (const Entry& entry : kModels) names.push_back(entry.name);
    return names;
  }();
  return all;
}

Sequential build(std::string_view name, const Shape& image, std::uint64_t seed, std::int64_t classes) {
  require(image.rank() == 3, "zoo: an image has the shape [C, H, W], not ", image.to_string());
  std::string known;
  for (const Entry& entry : kModels) {
    if (entry.name == name) return entry.make({image[0], image[1], image[2], classes, seed << 16});
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  require(false, "there is no model called \"", std::string(name), "\"; known are ", known);
  return Sequential();
}

}  // namespace espalier::zoo
