// The owners of sparse weights: decode(encode(w)) == w, sizes, and refusals that name the fix.
#include "pruning/format.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "kernels/simt/half.h"
#include "tests/support/sparse_problems.h"

namespace espalier::pruning {
namespace {

Tensor weight_of(Shape shape, const std::vector<float>& values) {
  return Tensor::from(std::move(shape), std::span<const float>(values));
}

TEST_CASE("formats: decode(encode(w)) == w for dense and convolution weights, empty and full ones included") {
  for (const double sparsity : {0.0, 0.9, 1.0}) {
    for (const Shape& shape : {Shape{7, 13}, Shape{5, 3, 3, 3}, Shape{1, 1}}) {
      const auto values = test::sparse_weight(shape[0], shape.size() / shape[0], sparsity, 1);
      const Tensor weight = weight_of(shape, values);
      for (const SparseFormat& format :
           {SparseFormat(DenseWeight::encode(weight)), SparseFormat(Csr::encode(weight)),
            SparseFormat(BlockCsr::encode(weight, {8, 8})), SparseFormat(BlockCsr::encode(weight, {2, 3}))}) {
        CHECK(decode(format).to_host() == values);
        CHECK(decode(format).shape() == shape);
        CHECK(bytes(format) > 0);
      }
    }
  }
}

TEST_CASE(
    "formats: a csr arranged by slabs, for a panel or by pieces gives its weight back, rounded where it is narrow") {
  for (const double sparsity : {0.0, 0.9, 1.0}) {
    const auto values = test::sparse_weight(21, 130, sparsity, 2);
    const Csr csr = Csr::encode(weight_of({21, 130}, values));
    for (const std::int64_t batch : {1, 200}) {
      CHECK(SlabCsr::encode(csr, batch).decode().to_host() == values);
      CHECK(SlabCsr::encode(csr, batch, Precision::bf16).decode().to_host() == values);
    }
    for (const std::int64_t batch : {8, 16, 70}) CHECK(ResidentCsr::encode(csr, batch).decode().to_host() == values);
    CHECK(PieceCsr<float>::encode(csr).decode().to_host() == values);
    std::vector<float> narrow = values;
    for (float& value : narrow) value = kernels::to_float(kernels::from_float<kernels::half>(value));
    CHECK(PieceCsr<kernels::half>::encode(csr).decode().to_host() == narrow);
    CHECK(PieceCsr<kernels::half>::encode(csr).bytes() <= PieceCsr<float>::encode(csr).bytes());
  }
}

TEST_CASE("formats: 2:4 holds what obeys it and refuses what does not") {
  auto values = test::sparse_weight(6, 22, 0.2, 1);
  CHECK(TwoFour::violations(weight_of({6, 22}, values)) > 0);
  CHECK_THROWS_AS(TwoFour::encode(weight_of({6, 22}, values)), InvalidArgument);
  test::obey_two_four(values, 22);
  const SparseFormat format = TwoFour::encode(weight_of({6, 22}, values));
  CHECK(decode(format).to_host() == values);
  CHECK(bytes(format) == 4 * 6 * (16 + 1));  // one metadata word and its 16 values per row
}

TEST_CASE("formats: csr counts its bytes") {
  const Csr csr = Csr::encode(weight_of({2, 3}, {0, 1, 0, 2, 0, 3}));
  CHECK(csr.view().nonzeros == 3);
  CHECK(csr.bytes() == 4 * 3 + 8 * 3);
}

TEST_CASE("formats: a vector has no rows and columns") {
  CHECK_THROWS_AS(Csr::encode(weight_of({3}, {1, 2, 3})), InvalidArgument);
}

}  // namespace
}  // namespace espalier::pruning
