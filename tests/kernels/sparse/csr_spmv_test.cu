// The sparse product with a vector against the dense one with zeros, in double; and its format, which loses nothing.
#include "kernels/sparse/csr_spmv.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "tests/support/sparse_buffers.h"
#include "tests/support/sparse_product.h"

namespace espalier::test {
namespace {

using kernels::Activation;

struct Problem {
  std::int64_t batch, rows, columns;
  double sparsity = 0.9;
  Activation activation = Activation::none;
  bool with_bias = true;
};

// What remains of a weight that is stored as T.
template <class T>
std::vector<float> stored(std::vector<float> weight) {
  for (float& value : weight) value = kernels::to_float(kernels::from_float<T>(value));
  return weight;
}

template <class T>
void check(const Problem& problem) {
  CAPTURE(problem.batch);
  CAPTURE(problem.rows);
  CAPTURE(problem.columns);
  CAPTURE(problem.sparsity);
  CAPTURE(sizeof(T));
  const auto weight = uneven_weight(problem.rows, problem.columns, problem.sparsity, 3);
  const PieceCsrBuffers<T> pieces(CsrBuffers(problem.rows, problem.columns, weight));
  CHECK(pieces.guards_intact());
  check_sparse_product(problem, stored<T>(weight), 0, [&](const float* x, const auto& epilogue, float* y, float*) {
    kernels::csr_spmv(problem.batch, pieces.view(), x, epilogue, y, nullptr);
  });
}

template <class T>
void check_decoding(std::int64_t rows, std::int64_t columns, const std::vector<float>& weight) {
  CAPTURE(rows);
  CAPTURE(columns);
  const PieceCsrBuffers<T> pieces(CsrBuffers(rows, columns, weight));
  GuardedBuffer<float> decoded(weight.size());
  kernels::piece_csr_decode(pieces.view(), decoded.data(), nullptr);
  CHECK(decoded.guards_intact());
  CHECK(decoded.download() == stored<T>(weight));
}

TEST_CASE("piece csr: decode(encode(w)) == w rounded to its type, with empty and full rows and odd edges") {
  for (const std::int64_t columns : {1, 7, 8, 9, 65}) {
    for (const std::int64_t rows : {1, 9, 40}) {
      for (const double sparsity : {0.0, 0.9, 1.0}) {
        check_decoding<float>(rows, columns, sparse_weight(rows, columns, sparsity, 4));
        check_decoding<kernels::half>(rows, columns, sparse_weight(rows, columns, sparsity, 4));
      }
      check_decoding<float>(rows, columns, uneven_weight(rows, columns, 0.7, 5));
      check_decoding<kernels::bfloat16>(rows, columns, uneven_weight(rows, columns, 0.7, 5));
    }
  }
}

TEST_CASE("piece csr: 6 bytes per nonzero of floats, 4 of 16 bits, within 5 % at 90 % zeros") {
  const CsrBuffers csr(64, 4096, sparse_weight(64, 4096, 0.9, 6));
  const double nonzeros = double(csr.view().nonzeros);
  CHECK(double(PieceCsrBuffers<float>(csr).view().bytes()) < 1.05 * 6 * nonzeros);
  CHECK(double(PieceCsrBuffers<kernels::half>(csr).view().bytes()) < 1.05 * 4 * nonzeros);
}

TEST_CASE("csr_spmv equals the dense product with zeros at odd, prime and tile-edge sizes") {
  for (const std::int64_t rows : {1, 31, 32, 33, 71}) check<float>({1, rows, 90});
  for (const std::int64_t columns : {1, 2, 7, 8, 9, 63, 64, 65, 127, 128, 129, 301}) check<float>({1, 11, columns});
  check<float>({3, 37, 131});
  check<float>({1, 5, 12289});
}

TEST_CASE("csr_spmv reads fp16 and bf16 values and sums in fp32") {
  for (const std::int64_t columns : {1, 9, 130, 301}) {
    check<kernels::half>({1, 21, columns});
    check<kernels::bfloat16>({2, 21, columns});
  }
  check<kernels::half>({1, 3, 12290});
}

TEST_CASE("csr_spmv at sparsities from empty to full, with bias and activation") {
  for (const double sparsity : {0.0, 0.5, 0.98, 1.0}) check<float>({1, 40, 150, sparsity});
  check<float>({1, 40, 150, 0.8, Activation::relu});
  check<float>({1, 40, 150, 0.8, Activation::tanh, false});
}

TEST_CASE("csr_spmv: an infinite x reaches only the rows that keep its column") {
  const PieceCsrBuffers<float> pieces(CsrBuffers(2, 2, {0.0f, 0.0f, 0.0f, 3.0f}));
  const GuardedBuffer<float> x(std::vector<float>{INFINITY, 2.0f}), bias(std::vector<float>{0.25f, 0.5f});
  GuardedBuffer<float> y(2);
  kernels::csr_spmv(1, pieces.view(), x.data(), {bias.data()}, y.data(), nullptr);
  CHECK(y.download() == std::vector<float>{0.25f, 6.5f});
}

TEST_CASE("csr_spmv: what does not fit is refused with the sizes") {
  CHECK_THROWS_WITH_AS(kernels::csr_spmv<float>(0, {2, 3}, nullptr, {}, nullptr, nullptr),
                       "csr_spmv: batch 0, weight 2 x 3; all must be at least 1, the batch at most 65535",
                       InvalidArgument);
  CHECK_THROWS_WITH_AS(kernels::piece_csr_count({1, 65536}, nullptr, nullptr),
                       "piece_csr_count: 65536 columns do not fit 16 bits; at most 65535 do", InvalidArgument);
}

}  // namespace
}  // namespace espalier::test
