// Our matrix product beside the vendor's, at 1024^3 and at the dense layers of the model zoo for a batch of 128.
// Medians in GFLOP/s; the device is named, since a figure of the CPU emulation says nothing about a GPU.
#include <fmt/format.h>

#include <vector>

#include "core/device/device_info.h"
#include "core/device/stream.h"
#include "core/device/timer.h"
#include "core/tensor/initialise.h"
#include "core/tensor/tensor.h"
#include "kernels/gemm.h"
#include "kernels/vendor/blas.h"

namespace {

using namespace espalier;
using kernels::Transpose;

struct Product {
  const char* name;
  kernels::GemmShape shape;
  Transpose transpose_a, transpose_b;
};

constexpr Transpose kNo = Transpose::no, kYes = Transpose::yes;

// y [batch, out] = x W^T, dx [batch, in] = dy W, dW [out, in] = dy^T x
constexpr Product kProducts[] = {
    {"square", {1024, 1024, 1024}, kNo, kNo},
    {"square, B transposed", {1024, 1024, 1024}, kNo, kYes},
    {"square, A transposed", {1024, 1024, 1024}, kYes, kNo},
    {"seed-cnn 1600-64, y", {128, 64, 1600}, kNo, kYes},
    {"seed-cnn 1600-64, dx", {128, 1600, 64}, kNo, kNo},
    {"seed-cnn 1600-64, dW", {64, 1600, 128}, kYes, kNo},
    {"seed-cnn 64-10, y", {128, 10, 64}, kNo, kYes},
    {"seed-cnn 64-10, dx", {128, 64, 10}, kNo, kNo},
    {"seed-cnn 64-10, dW", {10, 64, 128}, kYes, kNo},
    {"lenet-5 800-500, y", {128, 500, 800}, kNo, kYes},
    {"lenet-5 800-500, dx", {128, 800, 500}, kNo, kNo},
    {"lenet-5 800-500, dW", {500, 800, 128}, kYes, kNo},
    {"lenet-5 500-10, y", {128, 10, 500}, kNo, kYes},
    {"lenet-300-100 784-300, y", {128, 300, 784}, kNo, kYes},
    {"long and thin", {64, 288, 15488}, kNo, kYes},
    {"batch 1, 1600-64, y", {1, 64, 1600}, kNo, kYes},
    {"batch 1, 800-500, y", {1, 500, 800}, kNo, kYes},
};

Tensor matrix(kernels::index_t rows, kernels::index_t columns, std::uint64_t seed) {
  return kaiming_uniform(Shape{rows, columns}, seed);
}

double gflops(const Product& product, const Timing& timing) {
  return double(product.shape.flops()) / timing.median_us * 1e-3;
}

void compare(const Product& product) {
  const kernels::GemmShape& shape = product.shape;
  const Tensor a = matrix(shape.m, shape.k, 1), b = matrix(shape.k, shape.n, 2), c = Tensor::empty({shape.m, shape.n});
  const kernels::index_t floats =
      std::max(kernels::gemm_workspace_floats(shape), kernels::vendor::gemm_workspace_floats(shape));
  const Tensor scratch = Tensor::empty({std::max<kernels::index_t>(floats, 1)});
  const kernels::Workspace workspace{scratch.data<float>(), floats};
  const auto run = [&](const auto& gemm) {
    return benchmark([&] {
      gemm(shape, product.transpose_a, product.transpose_b, a.data<float>(), b.data<float>(), c.data<float>(),
           kernels::GemmEpilogue{}, current_stream(), workspace);
    });
  };
  const Timing ours = run([](const auto&... arguments) { kernels::gemm(arguments...); });
  const Timing vendor = run([](const auto&... arguments) { kernels::vendor::gemm(arguments...); });
  fmt::print("{:26} {:>5} x {:>5} x {:>6} {:>10.1f} {:>10.1f} {:>7.2f}\n", product.name, shape.m, shape.n, shape.k,
             gflops(product, ours), gflops(product, vendor), vendor.median_us / ours.median_us);
}

}  // namespace

int main() {
  const DeviceInfo device = device_info();
  fmt::print("{}, {} {}\n", device.name, device.multiprocessors, device.emulated ? "threads" : "multiprocessors");
  fmt::print("{:26} {:>5}   {:>5}   {:>6} {:>10} {:>10} {:>7}\n", "product, GFLOP/s", "m", "n", "k", "ours",
             kernels::vendor::blas_name(), "ratio");
  for (const Product& product : kProducts) compare(product);
}
