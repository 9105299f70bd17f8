// Dense products beside sparse ones, ours and the vendor's, over layer shapes, sparsities and batches: what compile()
// chooses from. Random masks. Medians; the device is named, since a figure of the CPU emulation says nothing about a
// GPU.
//   benchmark_sparse [words of a layer's name]
#include <fmt/format.h>

#include <string_view>

#include "core/device/device_info.h"
#include "core/tensor/initialise.h"
#include "kernels/vendor/blas.h"
#include "kernels/vendor/sparse.h"
#include "layers/conv2d.h"
#include "layers/dense.h"
#include "pruning/criterion.h"
#include "pruning/pattern.h"
#include "pruning/selection.h"

namespace {

using namespace espalier;
using namespace espalier::pruning;

struct Layer {
  const char* name;
  Shape input, weight;  // input of one image
};

const Layer kLayers[] = {
    {"seed-cnn conv2d_1", {1, 28, 28}, {32, 1, 3, 3}},
    {"seed-cnn conv2d_2", {32, 13, 13}, {64, 32, 3, 3}},
    {"seed-cnn dense_1", {1600}, {64, 1600}},
    {"lenet-5 conv2d_1", {1, 28, 28}, {20, 1, 5, 5}},
    {"lenet-5 conv2d_2", {20, 12, 12}, {50, 20, 5, 5}},
    {"lenet-5 dense_1", {800}, {500, 800}},
    {"lenet-300-100 dense_1", {784}, {300, 784}},
    {"lenet-300-100 dense_2", {300}, {100, 300}},
    {"1024 x 1024", {1024}, {1024, 1024}},
};
constexpr double kSparsities[] = {0.5, 0.7, 0.8, 0.9, 0.95, 0.98};
constexpr std::int64_t kBatches[] = {1, 32, 256, 1024};

Tensor pruned_weight(const Shape& shape, double sparsity) {
  Parameter parameter("weight", kaiming_uniform(shape, 1));
  const Tensor scores[] = {random(2)(parameter)};
  parameter.set_mask(unstructured()(scores, {.sparsity = sparsity}).front());
  return parameter.value.value();
}

RecordedCall call_of(const Layer& layer, double sparsity, std::int64_t batch) {
  std::vector<std::int64_t> input{batch};
  input.insert(input.end(), layer.input.extents().begin(), layer.input.extents().end());
  std::shared_ptr<ProductFunction> function;
  if (layer.weight.rank() == 4) {
    function = std::make_shared<Conv2dFunction>();
  } else {
    function = std::make_shared<DenseFunction>();
  }
  function->label = layer.name;
  function->activation = kernels::Activation::relu;
  return {function,
          {kaiming_uniform(Shape(input), 3), pruned_weight(layer.weight, sparsity), Tensor::zeros({layer.weight[0]})}};
}

void compare(const Layer& layer, double sparsity, std::int64_t batch) {
  const Choice choice = choose(call_of(layer, sparsity, batch), {.candidates = {dense(), csr()}});
  const auto& times = choice.step.candidates;  // dense ours, dense vendor, csr ours, csr vendor
  std::string line = fmt::format("{:22} {:>6.0f} % {:>6}", layer.name, 100 * sparsity, batch);
  for (const MeasuredImplementation& one : times)
    line += one.us ? fmt::format(" {:>12.1f}", *one.us) : fmt::format(" {:>12}", "-");
  for (const std::size_t other : {0, 1}) {
    line += times[other].us ? fmt::format(" {:>9.2f}", *times[other].us / *times[2].us) : fmt::format(" {:>9}", "-");
  }
  fmt::print("{}  {}, {}\n", line, choice.step.format, choice.step.implementation);
}

}  // namespace

int main(int argc, char** argv) {
  const DeviceInfo device = device_info();
  fmt::print("{}, {} {}; times in us\n", device.name, device.multiprocessors,
             device.emulated ? "threads" : "multiprocessors");
  fmt::print("{:22} {:>8} {:>6} {:>12} {:>12} {:>12} {:>12} {:>9} {:>9}  {}\n", "layer", "sparsity", "batch",
             "dense ours", kernels::vendor::blas_name(), "csr ours", kernels::vendor::sparse_name(), "x ours",
             "x vendor", "chosen");
  for (const Layer& layer : kLayers) {
    if (argc > 1 && std::string_view(layer.name).find(argv[1]) == std::string_view::npos) continue;
    for (const double sparsity : kSparsities) {
      for (const std::int64_t batch : kBatches) compare(layer, sparsity, batch);
    }
  }
}
