// The model of a product against the table of speed limits that it comes from: dense time, and how many times as fast
// rows of kept weights can be.
#include "pruning/product_work.h"

#include <doctest/doctest.h>

#include "core/tensor/initialise.h"
#include "kernels/require.h"
#include "layers/conv_pool.h"
#include "layers/dense.h"

namespace espalier::pruning {
namespace {

ProductSize dense_layer(std::int64_t rows, std::int64_t columns, std::int64_t batch) {
  return {rows, columns, batch, 4 * columns * batch, 4 * rows * batch};
}
// LeNet-5's second convolution: 20 maps of 12 x 12 to 50 of 8 x 8.
ProductSize lenet_conv2(std::int64_t batch) { return {50, 500, 64 * batch, 4 * batch * 20 * 144, 4 * batch * 50 * 64}; }

double dense_us(const char* gpu, const ProductSize& size, Precision precision = Precision::fp32) {
  const double weights = double(size.weights());
  const double bytes = precision == Precision::fp32 || precision == Precision::tf32 ? 4 : 2;
  return modelled_time(gpu_model(gpu), size,
                       {.stored = weights, .weight_bytes = bytes * weights, .precision = precision})
      .us;
}

double gain(const char* gpu, const ProductSize& size, double sparsity) {
  const auto nonzeros = std::int64_t((1 - sparsity) * double(size.weights()));
  return dense_us(gpu, size) / speed_limit_us(gpu_model(gpu), size, nonzeros);
}

TEST_CASE("product work: the dense times of the table") {
  const ProductSize large = dense_layer(4096, 4096, 256);
  CHECK(dense_us("a100", large) == doctest::Approx(491).epsilon(0.01));
  CHECK(dense_us("h100", large) == doctest::Approx(156).epsilon(0.01));
  CHECK(dense_us("4090", large) == doctest::Approx(117).epsilon(0.01));
  CHECK(dense_us("t4", large) == doctest::Approx(1174).epsilon(0.01));
  CHECK(dense_us("a100", large, Precision::tf32) == doctest::Approx(75).epsilon(0.02));
  CHECK(dense_us("t4", large, Precision::fp16) == doctest::Approx(178).epsilon(0.02));
  CHECK(dense_us("a100", dense_layer(4096, 4096, 1)) == doctest::Approx(40).epsilon(0.02));
  CHECK(dense_us("a100", dense_layer(300, 784, 4096)) == doctest::Approx(111).epsilon(0.01));
}

TEST_CASE("product work: the speed limits of kept weights in the table") {
  const ProductSize large = dense_layer(4096, 4096, 256);
  CHECK(gain("a100", large, 0.9) == doctest::Approx(4.7).epsilon(0.02));
  CHECK(gain("a100", large, 0.98) == doctest::Approx(14).epsilon(0.03));
  CHECK(gain("h100", large, 0.9) == doctest::Approx(2.3).epsilon(0.03));
  CHECK(gain("h100", large, 0.98) == doctest::Approx(5.2).epsilon(0.02));
  CHECK(gain("t4", large, 0.95) == doctest::Approx(4.6).epsilon(0.03));
  CHECK(gain("a100", dense_layer(4096, 4096, 1), 0.9) == doctest::Approx(10).epsilon(0.05));
  CHECK(gain("t4", dense_layer(4096, 4096, 1), 0.98) == doctest::Approx(72).epsilon(0.03));
  CHECK(gain("a100", lenet_conv2(64), 0.9) == doctest::Approx(3.3).epsilon(0.03));
  CHECK(gain("a100", lenet_conv2(4096), 0.98) == doctest::Approx(13).epsilon(0.03));
}

TEST_CASE("product work: rows that share a read of x lift the limit of shared memory, tensor cores that of fp32") {
  const ProductSize size = dense_layer(4096, 4096, 256);
  ProductWork rows{.dense = false, .stored = 2e6, .weight_bytes = 12e6};
  ProductWork shared = rows, tensor = rows, narrow = rows;
  shared.rows_sharing = 8, tensor.precision = Precision::fp16, narrow.x_bytes = 2;
  const auto us = [&](const ProductWork& work) { return modelled_time(gpu_model("a100"), size, work).us; };
  CHECK(us(shared) < 0.7 * us(rows));
  CHECK(us(tensor) < 0.5 * us(rows));
  CHECK(us(narrow) < 0.7 * us(rows));
  CHECK(modelled_time(gpu_model("a100"), size, rows).bound == Bound::l1);
}

TEST_CASE("product work: each launch adds its floor, and none takes no time") {
  const ProductSize size = dense_layer(10, 10, 1);
  const GpuModel& gpu = gpu_model("h100");
  CHECK(modelled_time(gpu, size, {.launches = 3}).us - modelled_time(gpu, size, {.launches = 1}).us ==
        doctest::Approx(2 * kGraphNodeFloorUs));
  CHECK(modelled_copy_us(gpu, 1e6, 0) == 0);
  CHECK(modelled_copy_us(gpu, 1e9, 1) == doctest::Approx(1e9 / (0.85 * 3.35e6) + kGraphNodeFloorUs));
}

TEST_CASE("product work: a T4 has no tf32 and no bf16 products") {
  CHECK(has_products(gpu_model("t4"), Precision::fp16));
  CHECK(!has_products(gpu_model("t4"), Precision::bf16));
  CHECK(has_products(gpu_model("a100"), Precision::tf32));
  CHECK_THROWS_AS(modelled_time(gpu_model("t4"), {}, {.precision = Precision::tf32}), InvalidArgument);
}

TEST_CASE("product work: the sizes of dense layers, convolutions and pooled convolutions") {
  const RecordedCall dense{std::make_shared<DenseFunction>(),
                           {kaiming_uniform({7, 30}, 1), kaiming_uniform({5, 30}, 2)}};
  CHECK(product_size(dense).macs() == 7 * 30 * 5);
  CHECK(product_size(dense).output_bytes == 4 * 7 * 5);
  const auto convolution = std::make_shared<Conv2dFunction>();
  const Tensors operands{kaiming_uniform({2, 3, 8, 10}, 1), kaiming_uniform({4, 3, 3, 3}, 2)};
  const ProductSize plain = product_size({convolution, operands});
  CHECK(plain.positions == 2 * 6 * 8);
  CHECK(plain.columns == 27);
  CHECK(plain.input_bytes == 4 * 2 * 3 * 80);
  CHECK(plain.output_bytes == 4 * 2 * 4 * 48);
  const ProductSize pooled = product_size({std::make_shared<ConvPool2dFunction>(*convolution), operands});
  CHECK(pooled.macs() == plain.macs());
  CHECK(pooled.output_bytes == plain.output_bytes / 4);
}

TEST_CASE("product work: the fingerprint tells shapes, attributes and places of zeros apart, not values") {
  const auto function = std::make_shared<DenseFunction>();
  const auto print = [&](std::vector<float> weight, std::int64_t batch = 2) {
    return fingerprint({function, {Tensor::zeros({batch, 3}), Tensor::from({2, 3}, weight)}});
  };
  const std::string first = print({1, 0, 2, 0, 3, 0});
  CHECK(print({5, 0, 6, 0, 7, 0}) == first);
  CHECK(print({0, 1, 2, 0, 3, 0}) != first);
  CHECK(print({1, 0, 2, 0, 3, 0}, 3) != first);
  function->activation = kernels::Activation::relu;
  CHECK(print({1, 0, 2, 0, 3, 0}) != first);
}

}  // namespace
}  // namespace espalier::pruning
