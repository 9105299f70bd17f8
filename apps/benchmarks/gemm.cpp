// Dense products: the layers of the model zoo at a batch of 128 and 1, and large ones. Beside them the vendor's, and on
// a GPU the tiles that `automatic` chooses among; for tensor cores our own fp32 product.
#include "kernels/gemm.h"
#include "apps/benchmarks/case.h"
#include "apps/benchmarks/operands.h"
#include "core/device/stream.h"
#include "kernels/gemm_tensor_core.h"
#include "kernels/vendor/blas.h"

namespace espalier::benchmarks {
namespace {

using kernels::GemmShape;
using kernels::GemmTile;
using kernels::Precision;
using kernels::Transpose;

struct Product {
  const char* name;
  GemmShape shape;
  Transpose transpose_a = Transpose::no, transpose_b = Transpose::no;
  bool large = false;
};

constexpr Transpose kNo = Transpose::no, kYes = Transpose::yes;

// y [batch, out] = x W^T, dx [batch, in] = dy W, dW [out, in] = dy^T x
constexpr Product kProducts[] = {
    {"1024 x 1024 x 1024", {1024, 1024, 1024}},
    {"1024 x 1024 x 1024, B transposed", {1024, 1024, 1024}, kNo, kYes},
    {"1024 x 1024 x 1024, A transposed", {1024, 1024, 1024}, kYes, kNo},
    {"4096 x 256 x 4096", {4096, 256, 4096}, kNo, kNo, true},
    {"4096 x 4096 x 4096", {4096, 4096, 4096}, kNo, kNo, true},
    {"seed-cnn dense_1, batch 128, y", {128, 64, 1600}, kNo, kYes},
    {"seed-cnn dense_1, batch 128, dx", {128, 1600, 64}},
    {"seed-cnn dense_1, batch 128, dW", {64, 1600, 128}, kYes, kNo},
    {"seed-cnn dense_1, batch 1, y", {1, 64, 1600}, kNo, kYes},
    {"lenet-5 dense_1, batch 128, y", {128, 500, 800}, kNo, kYes},
    {"lenet-5 dense_1, batch 128, dx", {128, 800, 500}},
    {"lenet-5 dense_1, batch 128, dW", {500, 800, 128}, kYes, kNo},
    {"lenet-5 dense_1, batch 1, y", {1, 500, 800}, kNo, kYes},
    {"lenet-5 dense_2, batch 128, y", {128, 10, 500}, kNo, kYes},
    {"lenet-300-100 dense_1, batch 128, y", {128, 300, 784}, kNo, kYes},
    {"lenet-300-100 dense_2, batch 128, y", {128, 100, 300}, kNo, kYes},
    {"long and thin, 64 x 288 x 15488", {64, 288, 15488}, kNo, kYes},
};

struct Operands {
  Tensor a, b, c;
  explicit Operands(const GemmShape& s)
      : a(random({s.m, s.k}, 1)), b(random({s.k, s.n}, 2)), c(random({s.m, s.n}, 3)) {}
};

Variant ours(const Product& p, const Operands& t, const char* by, GemmTile tile) {
  const Scratch scratch(kernels::gemm_workspace_floats(p.shape, tile));
  return {by, [=] {
            kernels::gemm(p.shape, p.transpose_a, p.transpose_b, t.a.data<float>(), t.b.data<float>(),
                          t.c.data<float>(), {}, current_stream(), scratch.get(), tile);
          }};
}

Variants fp32_variants(const Product& p) {
  const Operands t(p.shape);
  Variants variants{ours(p, t, "ours", GemmTile::automatic)};
  const Scratch scratch(kernels::vendor::gemm_workspace_floats(p.shape));
  variants.push_back({std::string(kernels::vendor::blas_name()), [=] {
                        kernels::vendor::gemm(p.shape, p.transpose_a, p.transpose_b, t.a.data<float>(),
                                              t.b.data<float>(), t.c.data<float>(), {}, current_stream(),
                                              scratch.get());
                      }});
  if (!simt::kEmulated) {
    variants.push_back(ours(p, t, "small tiles", GemmTile::small));
    variants.push_back(ours(p, t, "medium tiles", GemmTile::medium));
    variants.push_back(ours(p, t, "large tiles", GemmTile::large));
  }
  return variants;
}

// Operands in T, sums and C in fp32.
template <class T, class Round>
Variants tensor_core_variants(const Product& p, Precision precision, Round round) {
  const Operands t(p.shape);
  const Tensor a = Tensor::empty({p.shape.m * p.shape.k * std::int64_t(sizeof(T)) / 2}, DType::u16);
  const Tensor b = Tensor::empty({p.shape.k * p.shape.n * std::int64_t(sizeof(T)) / 2}, DType::u16);
  const auto rounded = [](const Tensor& x) { return static_cast<T*>(x.raw()); };
  round(t.a.size(), t.a.data<float>(), rounded(a), current_stream());
  round(t.b.size(), t.b.data<float>(), rounded(b), current_stream());
  Variants variants;
  if (simt::kEmulated || kernels::has_tensor_cores_for(precision)) {
    const Scratch scratch(kernels::gemm_tensor_core_workspace_floats(p.shape));
    variants.push_back({"ours", [=] {
                          kernels::gemm_tensor_core<T, float>(p.shape, p.transpose_a, p.transpose_b, rounded(a),
                                                              rounded(b), t.c.data<float>(), {}, current_stream(),
                                                              scratch.get());
                        }});
  }
  variants.push_back(ours(p, t, "ours, fp32", GemmTile::automatic));
  return variants;
}

Cases tensor_core_cases(const Product& p) {
  using kernels::bfloat16;
  const GemmShape& s = p.shape;
  const auto make = [&](const char* kernel, std::int64_t operand_bytes, std::function<Variants()> prepare) {
    return Case{.kernel = kernel,
                .shape = p.name,
                .flops = double(s.flops()),
                .bytes = double(operand_bytes * (s.m * s.k + s.k * s.n) + 4 * s.m * s.n),
                .prepare = std::move(prepare),
                .tensor = true,
                .large = p.large};
  };
  const auto to_tf32 = [](auto... arguments) { kernels::round_to_tf32(arguments...); };
  const auto to_16_bits = [](auto... arguments) { kernels::convert(arguments...); };
  return {make("gemm tf32", 4, [=] { return tensor_core_variants<float>(p, Precision::tf32, to_tf32); }),
          make("gemm fp16", 2, [=] { return tensor_core_variants<kernels::half>(p, Precision::fp16, to_16_bits); }),
          make("gemm bf16", 2, [=] { return tensor_core_variants<bfloat16>(p, Precision::bf16, to_16_bits); })};
}

// dx = dy W and dw = dy^T x with db of a dense layer, in one launch and in two.
Variants gradient_variants(std::int64_t batch, std::int64_t in, std::int64_t out) {
  const Tensor x = random({batch, in}, 1), w = random({out, in}, 2), dy = random({batch, out}, 3);
  const Tensor dx = Tensor::like(x), dw = Tensor::like(w), db = Tensor::empty({out});
  const kernels::GemmCall input{{batch, in, out}, kNo, kNo, dy.data<float>(), w.data<float>(), dx.data<float>()};
  kernels::GemmCall weight{{out, in, batch}, kYes, kNo, dy.data<float>(), x.data<float>(), dw.data<float>()};
  weight.epilogue.row_sums = db.data<float>();
  const Scratch scratch(kernels::gemm_pair_workspace_floats(input, weight));
  const Tensors held{x, w, dy, dx, dw, db};
  const auto alone = [scratch, held](const kernels::GemmCall& call) {
    kernels::gemm(call.shape, call.transpose_a, call.transpose_b, call.a, call.b, call.c, call.epilogue,
                  current_stream(), scratch.get());
  };
  return {
      {"ours", [=] { kernels::gemm_pair(input, weight, current_stream(), scratch.get()), static_cast<void>(held); }},
      {"ours, two launches", [=] { alone(input), alone(weight); }}};
}

Case gradient_case(const char* name, std::int64_t batch, std::int64_t in, std::int64_t out) {
  const GemmShape one{batch, in, out};
  return {.kernel = "gemm_pair",
          .shape = name,
          .flops = 2.0 * double(one.flops()),
          .bytes = 4.0 * double(2 * batch * in + batch * out + 2 * in * out + out),
          .prepare = [=] { return gradient_variants(batch, in, out); }};
}

Case epilogue_case(const char* name, const GemmShape& s) {
  return {.kernel = "gemm_epilogue",
          .shape = name,
          .flops = 2.0 * double(s.m * s.n),
          .bytes = 8.0 * double(s.m * s.n),
          .prepare = [=] {
            const Tensor c = random({s.m, s.n}), bias = random({s.n}, 2);
            return Variants{{"ours", [=] {
                               kernels::gemm_epilogue(
                                   s, {.bias = bias.data<float>(), .activation = kernels::Activation::relu},
                                   c.data<float>(), current_stream());
                             }}};
          }};
}

}  // namespace

Cases gemm_cases() {
  Cases cases;
  for (const Product& p : kProducts) {
    cases.push_back({.kernel = "gemm",
                     .shape = p.name,
                     .flops = double(p.shape.flops()),
                     .bytes = double(p.shape.bytes()),
                     .prepare = [p] { return fp32_variants(p); },
                     .large = p.large});
  }
  for (const std::size_t i : {0, 3, 4, 5, 9}) {
    for (Case& one : tensor_core_cases(kProducts[i])) cases.push_back(std::move(one));
  }
  cases.push_back(gradient_case("lenet-5 dense_1, batch 128, gradients", 128, 800, 500));
  cases.push_back(gradient_case("seed-cnn dense_1, batch 128, gradients", 128, 1600, 64));
  cases.push_back(epilogue_case("bias and relu, 128 x 500", {128, 500, 0}));
  cases.push_back(epilogue_case("bias and relu, 4096 x 4096", {4096, 4096, 0}));
  return cases;
}

}  // namespace espalier::benchmarks
