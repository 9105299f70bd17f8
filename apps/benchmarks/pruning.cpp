// What pruning does to weights: scores, the k highest, patterns, counts, and dense to sparse formats and back. At the
// size of lenet-5's largest layer and of a 4096 x 4096 one, 90 % zeros.
#include <array>
#include <memory>

#include "apps/benchmarks/case.h"
#include "apps/benchmarks/operands.h"
#include "core/device/stream.h"
#include "core/train/kept_weights.h"
#include "kernels/mask.h"
#include "kernels/pattern.h"
#include "kernels/sparse/kept.h"
#include "pruning/format.h"

namespace espalier::benchmarks {
namespace {

using kernels::WeightShape;

struct Weight {
  const char* name;
  WeightShape shape;
};
constexpr Weight kWeights[] = {{"lenet-5 dense_1, 500 x 800", {500, 800}}, {"4096 x 4096", {4096, 4096}}};
constexpr double kSparsity = 0.9;

using Make = std::function<std::function<void()>(const WeightShape&)>;

// bytes for each element of the dense weight
Case simple(const Weight& weight, const char* kernel, double bytes, Make make) {
  const WeightShape s = weight.shape;
  return {.kernel = kernel, .shape = weight.name, .bytes = bytes * double(s.size()), .prepare = [=] {
            return Variants{{"ours", make(s)}};
          }};
}

std::function<void()> magnitude(const WeightShape& s) {
  const Tensor weight = random({s.size()}), score = Tensor::like(weight);
  return [=] { kernels::magnitude_scores(s.size(), weight.data<float>(), score.data<float>(), current_stream()); };
}

std::function<void()> keep_highest(const WeightShape& s) {
  const Tensor score = random({s.size()}), keep = Tensor::empty({s.size()}, DType::u8);
  const std::array tensors{
      kernels::ScoredTensor{.score = score.data<float>(), .keep = keep.data<std::uint8_t>(), .count = s.size()}};
  const Scratch scratch = Scratch::of_bytes(kernels::keep_highest_workspace_bytes(tensors));
  return [=] {
    static_cast<void>(score), static_cast<void>(keep);
    kernels::keep_highest(tensors, s.size() / 10, scratch.raw(), current_stream());
  };
}

std::function<void()> two_of_four(const WeightShape& s) {
  const Tensor score = random({s.size()}), keep = Tensor::empty({s.size()}, DType::u8);
  return [=] {
    kernels::keep_n_of_m({s.rows, s.columns}, 2, 4, score.data<float>(), keep.data<std::uint8_t>(), current_stream());
  };
}

std::function<void()> bury(const WeightShape& s) {
  const Tensor score = random({s.size()}), keep = random_bytes({s.size()}, 2);
  return [=] { kernels::bury_pruned(s.size(), keep.data<std::uint8_t>(), score.data<float>(), current_stream()); };
}

std::function<void()> count(const WeightShape& s) {
  const Tensor keep = random_bytes({s.size()}, 2), kept = Tensor::zeros({1}, DType::i64);
  const std::array tensors{kernels::MaskedTensor{.keep = keep.data<std::uint8_t>(), .count = s.size()}};
  return [=] {
    static_cast<void>(keep);
    kernels::count_kept(tensors, kept.data<std::int64_t>(), current_stream());
  };
}

std::function<void()> pack(const WeightShape& s) {
  const Tensor keep = random_bytes({s.size()}, 2), bits = Tensor::empty({kernels::mask_words(s.size())}, DType::u32);
  return [=] { kernels::pack_keep(s.size(), keep.data<std::uint8_t>(), bits.data<std::uint32_t>(), current_stream()); };
}

std::function<void()> hash(const WeightShape& s) {
  const Tensor keep = random_bytes({s.size()}, 2), sum = Tensor::zeros({1}, DType::i64);
  return [=] {
    kernels::hash_mask(s.size(), keep.data<std::uint8_t>(), static_cast<std::uint64_t*>(sum.raw()), current_stream());
  };
}

std::function<void()> csr_count(const WeightShape& s) {
  const Tensor weight = sparse_weight({s.rows, s.columns}, kSparsity),
               offsets = Tensor::empty({s.rows + 1}, DType::i32);
  return [=] { kernels::csr_count(s, weight.data<float>(), offsets.data<std::int32_t>(), current_stream()); };
}

std::function<void()> csr_fill(const WeightShape& s) {
  const Tensor weight = sparse_weight({s.rows, s.columns}, kSparsity),
               offsets = Tensor::empty({s.rows + 1}, DType::i32);
  kernels::csr_count(s, weight.data<float>(), offsets.data<std::int32_t>(), current_stream());
  const std::int64_t nonzeros = offsets.to_host_as<std::int32_t>().back();
  const Tensor columns = Tensor::empty({nonzeros}, DType::i32), values = Tensor::empty({nonzeros});
  return [=] {
    kernels::csr_fill(s, weight.data<float>(), offsets.data<std::int32_t>(), columns.data<std::int32_t>(),
                      values.data<float>(), current_stream());
  };
}

std::function<void()> csr_decode(const WeightShape& s) {
  const auto csr = pruning::Csr::encode(sparse_weight({s.rows, s.columns}, kSparsity));
  const Tensor weight = Tensor::empty({s.rows, s.columns});
  return [=] { kernels::csr_decode(csr.view(), weight.data<float>(), current_stream()); };
}

// For a step of training, in both orders.
std::function<void()> kept_gather(const WeightShape& s) {
  const Tensor weight = sparse_weight({s.rows, s.columns}, kSparsity);
  const auto kept = std::make_shared<KeptWeights>(keep_of(weight));
  const Tensor values = Tensor::empty({kept->view().kept});
  return [=] {
    kernels::kept_gather(kept->view(), weight.data<float>(), values.data<float>(),
                         kept->transposed_values.data<float>(), current_stream());
  };
}

constexpr kernels::BlockShape kBlock{8, 8};

std::function<void()> block_count(const WeightShape& s) {
  const Tensor weight = block_sparse_weight(s.rows, s.columns, kSparsity);
  const Tensor offsets = Tensor::empty({s.rows / kBlock.rows + 2}, DType::i32);
  return [=] {
    kernels::block_csr_count(s, kBlock, weight.data<float>(), offsets.data<std::int32_t>(), current_stream());
  };
}

std::function<void()> block_fill(const WeightShape& s) {
  const Tensor weight = block_sparse_weight(s.rows, s.columns, kSparsity);
  const auto encoded = pruning::BlockCsr::encode(weight, kBlock);
  const auto view = encoded.view();
  const Tensor columns = Tensor::empty({view.blocks}, DType::i32);
  const Tensor values = Tensor::empty({view.blocks * kBlock.rows * kBlock.columns});
  return [=] {
    kernels::block_csr_fill(s, kBlock, weight.data<float>(), encoded.view().row_offsets, columns.data<std::int32_t>(),
                            values.data<float>(), current_stream());
  };
}

std::function<void()> block_decode(const WeightShape& s) {
  const Tensor weight = block_sparse_weight(s.rows, s.columns, kSparsity);
  const auto encoded = pruning::BlockCsr::encode(weight, kBlock);
  return [=] { kernels::block_csr_decode(encoded.view(), weight.data<float>(), current_stream()); };
}

std::function<void()> violations(const WeightShape& s) {
  const Tensor weight = two_four_weight(s.rows, s.columns), count = Tensor::zeros({1}, DType::i32);
  return [=] { kernels::two_four_violations(s, weight.data<float>(), count.data<std::int32_t>(), current_stream()); };
}

std::function<void()> two_four_decode(const WeightShape& s) {
  const Tensor weight = two_four_weight(s.rows, s.columns);
  const auto encoded = pruning::TwoFour::encode(weight);
  return [=] { kernels::two_four_decode(encoded.view(), weight.data<float>(), current_stream()); };
}

std::function<void()> two_four_encode(const WeightShape& s) {
  const Tensor weight = two_four_weight(s.rows, s.columns);
  const kernels::TwoFourView view{.rows = s.rows, .columns = s.columns};
  const Tensor values = Tensor::empty({s.rows * view.values_per_row()});
  const Tensor metadata = Tensor::empty({s.rows * view.words_per_row()}, DType::u32);
  return [=] {
    kernels::two_four_encode(s, weight.data<float>(), values.data<float>(), metadata.data<std::uint32_t>(),
                             current_stream());
  };
}

}  // namespace

Cases pruning_cases() {
  Cases cases;
  constexpr double kKept = 1 - kSparsity, kEntry = 8;  // bytes of a nonzero in CSR
  for (const Weight& weight : kWeights) {
    cases.push_back(simple(weight, "magnitude_scores", 8, magnitude));
    cases.push_back(simple(weight, "keep_highest", 21, keep_highest));
    cases.push_back(simple(weight, "keep_n_of_m, 2:4", 5, two_of_four));
    cases.push_back(simple(weight, "bury_pruned", 9, bury));
    cases.push_back(simple(weight, "count_kept", 1, count));
    cases.push_back(simple(weight, "pack_keep", 1.125, pack));
    cases.push_back(simple(weight, "csr_count", 4, csr_count));
    cases.push_back(simple(weight, "csr_fill", 4 + kEntry * kKept, csr_fill));
    cases.push_back(simple(weight, "csr_decode", 4 + kEntry * kKept, csr_decode));
    cases.push_back(simple(weight, "kept_gather", 20 * kKept, kept_gather));
    cases.push_back(simple(weight, "hash_mask", 1, hash));
    cases.push_back(simple(weight, "block_csr_count, 8 x 8", 4, block_count));
    cases.push_back(simple(weight, "block_csr_fill, 8 x 8", 4 + 4.0625 * kKept, block_fill));
    cases.push_back(simple(weight, "block_csr_decode, 8 x 8", 4 + 4.0625 * kKept, block_decode));
    cases.push_back(simple(weight, "two_four_violations", 4, violations));
    cases.push_back(simple(weight, "two_four_decode", 4 + 2.125, two_four_decode));
    cases.push_back(simple(weight, "two_four_encode", 4 + 2.125, two_four_encode));
  }
  return cases;
}

}  // namespace espalier::benchmarks
