// Sizes of formats are those that masks were made for.
#include "pruning/fitting_formats.h"

#include <doctest/doctest.h>

#include <set>
#include <string>

#include "layers/activation.h"
#include "layers/conv2d.h"
#include "layers/dense.h"
#include "layers/sequential.h"
#include "pruning/plan.h"
#include "pruning/pruner.h"
#include "pruning/structured_pattern.h"
#include "tests/support/evaluated.h"

namespace espalier::pruning {
namespace {

// "block 8x8, vector 8, 128:2:8": the sizes, in their order.
std::string sizes_of(const std::vector<Candidate>& candidates) {
  std::string text;
  for (const Candidate& one : candidates) {
    std::string size;
    if (const auto* block = std::get_if<BlockCsrCandidate>(&one)) {
      size = "block " + std::to_string(block->rows) + "x" + std::to_string(block->columns);
    } else if (const auto* vectors = std::get_if<VectorNmCandidate>(&one)) {
      size = "vector " + std::to_string(vectors->height);
    } else if (const auto* vnm = std::get_if<VnmCandidate>(&one)) {
      size = std::to_string(vnm->height) + ":2:" + std::to_string(vnm->window);
    }
    if (!size.empty()) text += (text.empty() ? "" : ", ") + size;
  }
  return text;
}

std::string fitting_after(const Pattern& pattern) {
  Sequential model(Dense(96, 128, {.seed = 1}), Relu(), Dense(128, 6, {.seed = 2}));
  Pruner(model, {.pattern = pattern, .ignore = {"dense_2.weight"}}).prune_to(0.75);
  return sizes_of(fitting_formats(model));
}

TEST_CASE("fitting formats: the tallest vectors, largest blocks and widest windows that the weights fill") {
  CHECK(fitting_after(unstructured()) == "block 8x8, vector 8, 128:2:8");
  CHECK(fitting_after(vector(4)) == "block 8x8, vector 4, 128:2:8");
  CHECK(fitting_after(vector(16)) == "block 8x8, vector 16, 128:2:8");
  CHECK(fitting_after(vector(32)) == "block 8x8, vector 32, 128:2:8");
  CHECK(fitting_after(block(16, 16)) == "block 16x16, vector 16, 128:2:8");
  CHECK(fitting_after(v_n_m(64, 2, 8)) == "block 8x8, vector 8, 64:2:8");
  CHECK(fitting_after(v_n_m(128, 2, 16)) == "block 8x8, vector 8, 128:2:16");
}

TEST_CASE("fitting formats: blocks of a convolution may lie along the channels of its taps") {
  Sequential model(Conv2d(32, 64, {.kernel = 3, .seed = 1}));
  Pruner(model, {.pattern = block_channels(16, 16)}).prune_to(0.75);
  CHECK(sizes_of(fitting_formats(model)) == "block 16x16, vector 16, 128:2:8");
}

TEST_CASE("fitting formats: weights of different sizes each have theirs; one without zeros asks for nothing") {
  Sequential model(Conv2d(4, 16, {.kernel = 3, .seed = 1}), Relu(), Dense(16 * 36, 64, {.seed = 2}), Dense(64, 5));
  CHECK(sizes_of(fitting_formats(model)) == "block 8x8, vector 8, 128:2:8");
  Pruner(model, {.pattern = vector(8), .ignore = {"dense_1.weight", "dense_2.weight"}}).prune_to(0.8);
  Pruner(model, {.pattern = block(32, 32), .ignore = {"conv2d_1.weight", "dense_2.weight"}}).prune_to(0.8);
  CHECK(sizes_of(fitting_formats(model)) == "block 32x32, vector 8, vector 32, 128:2:8");
}

TEST_CASE("fitting formats: a plan of them computes what the masked network does") {
  Sequential model(Dense(96, 128, {.seed = 1}), Relu(), Dense(128, 6, {.seed = 2}));
  Pruner(model, {.pattern = vector(16), .ignore = {"dense_2.weight"}}).prune_to(0.9);
  const Shape shape{40, 96};
  const Plan plan = compile(model, shape, {.candidates = fitting_formats(model)});
  std::set<std::string> formats;
  for (const auto& one : plan.steps()[0].candidates) formats.insert(one.format);
  CHECK(formats.count("vector 16x1") == 1);
  const Tensor images = test::random_images(shape);
  CHECK(test::difference(plan(images).to_host(), test::evaluated(model, images), 1e-4, 1e-5) == "");
}

}  // namespace
}  // namespace espalier::pruning
