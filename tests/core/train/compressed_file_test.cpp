// Compressed files: bit-exact round trips of any mask, damage of every kind refused with file and place, and the size
// that a network pruned 280 times is to have.
#include "core/train/compressed_file.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <random>

#include "core/train/atomic_file.h"
#include "core/train/checkpoint.h"
#include "kernels/require.h"
#include "layers/evaluate.h"
#include "layers/model_file.h"
#include "layers/zoo.h"
#include "tests/support/close.h"
#include "tests/support/small_run.h"
#include "tests/support/temporary_folder.h"

using namespace espalier;
using espalier::test::SmallRun;
using espalier::test::TemporaryFolder;

namespace {

const std::vector<Compression> kAll{{},
                                    {.huffman = true},
                                    {.values = ValueCoding::int8},
                                    {.values = ValueCoding::int8, .huffman = true},
                                    {.values = ValueCoding::kmeans, .bits = 1, .huffman = true},
                                    {.values = ValueCoding::kmeans, .bits = 4},
                                    {.values = ValueCoding::kmeans, .bits = 8, .huffman = true}};

std::string content_of_file(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

void store(const std::filesystem::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary).write(bytes.data(), std::streamsize(bytes.size()));
}

StoredTensor floats(const Shape& shape, const std::vector<float>& values) {
  StoredTensor tensor{DType::f32, shape, std::vector<std::byte>(values.size() * sizeof(float))};
  std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}

// A weight and its mask; what falls is zero.
void add_masked(Safetensors& content, const std::string& name, const Shape& shape, double density, unsigned seed) {
  std::mt19937 engine(seed);
  std::bernoulli_distribution alive(density);
  std::normal_distribution<float> draw(0.0f, 0.1f);
  StoredTensor mask{DType::u8, shape, std::vector<std::byte>(std::size_t(shape.size()))};
  std::vector<float> values(mask.bytes.size(), 0.0f);
  for (std::size_t i = 0; i < values.size(); ++i) {
    mask.bytes[i] = std::byte(alive(engine));
    if (mask.bytes[i] == std::byte(1)) values[i] = draw(engine);
  }
  content.tensors[name] = floats(shape, values);
  content.tensors[kMaskPrefix + name] = mask;
}

Safetensors example(double density, unsigned seed = 1) {
  Safetensors example;
  add_masked(example, "conv2d_1.weight", {4, 3, 3, 3}, density, seed);
  add_masked(example, "dense_1.weight", {7, 11}, density / 2, seed + 1);
  add_masked(example, "dense_1.bias", {7}, 1.0, seed + 2);
  example.tensors["dense_2.weight"] = floats({3, 5}, std::vector<float>(15, 0.25f));
  example.tensors["odd"] = floats({2, 2}, {0.0f, -0.0f, std::numeric_limits<float>::infinity(), 1e-42f});
  example.tensors["steps"] = {DType::i64, {1}, std::vector<std::byte>(8, std::byte(3))};
  example.metadata = {{"note.author", "quotes \" and ümlauts"}, {"empty", ""}};
  return example;
}

std::string error_of(const std::filesystem::path& file) {
  try {
    read_tensors(file);
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("compressed file: exact values come back bit for bit, with any mask, empty and full ones too") {
  const TemporaryFolder folder;
  for (const double density : {0.0, 0.01, 0.2, 0.7, 1.0}) {
    for (unsigned seed = 1; seed < 6; ++seed) {
      for (const bool huffman : {false, true}) {
        const Safetensors content = example(density, seed);
        write_compressed(folder / "file", content, {.huffman = huffman});
        CHECK(read_tensors(folder / "file") == content);
      }
    }
  }
}

TEST_CASE("compressed file: a kept weight that is zero stays kept") {
  const TemporaryFolder folder;
  Safetensors content;
  content.tensors["w"] = floats({2, 3}, {0, 0, 1, -0.0f, 0, 0});
  content.tensors["mask/w"] = {DType::u8, {2, 3}, std::vector<std::byte>(6, std::byte(1))};
  content.tensors["mask/w"].bytes[4] = std::byte(0);
  write_compressed(folder / "file", content, {});
  CHECK(read_tensors(folder / "file") == content);
  CHECK(stored_layers(folder / "file").at(0).kept == 5);
}

TEST_CASE("compressed file: quantised values stay near, masks and vectors exact") {
  const TemporaryFolder folder;
  const Safetensors content = example(0.6);
  for (const Compression& compression : kAll) {
    write_compressed(folder / "file", content, compression);
    const Safetensors read = read_tensors(folder / "file");
    REQUIRE(read.tensors.size() == content.tensors.size());
    for (const auto& [name, tensor] : content.tensors) {
      if (name.starts_with(kMaskPrefix) || tensor.shape.rank() < 2 || name == "odd") {
        CHECK(read.tensors.at(name) == tensor);
        continue;
      }
      const bool coarse = compression.values == ValueCoding::kmeans && compression.bits == 1;
      for (std::size_t i = 0; i < tensor.bytes.size() / sizeof(float); ++i) {
        float before = 0, after = 0;
        std::memcpy(&before, tensor.bytes.data() + i * sizeof(float), sizeof(float));
        std::memcpy(&after, read.tensors.at(name).bytes.data() + i * sizeof(float), sizeof(float));
        CHECK(std::fabs(before - after) <= (coarse ? 0.3f : 0.05f));
        CHECK((before != 0.0f || after == 0.0f));
      }
    }
    write_compressed(folder / "again", read, compression);  // shared values share again
    CHECK(read_tensors(folder / "again").tensors.size() == read.tensors.size());
  }
}

TEST_CASE("compressed file: cut after any byte, it says where it ends") {
  const TemporaryFolder folder;
  write_compressed(folder / "file", example(0.3), {.values = ValueCoding::kmeans, .bits = 3, .huffman = true});
  const std::string whole = content_of_file(folder / "file");
  CHECK(whole.size() < 1000);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    store(folder / "cut", whole.substr(0, length));
    const std::string error = error_of(folder / "cut");
    CAPTURE(length);
    CHECK(error.starts_with((folder / "cut").string() + ": "));
    if (length > 0) CHECK(error.find("cut short") != std::string::npos);
    if (length >= 20) CHECK(error.find("section ") != std::string::npos);
  }
  store(folder / "long", whole + "x");
  CHECK(error_of(folder / "long").find("1 bytes too many") != std::string::npos);
}

TEST_CASE("compressed file: no flipped bit goes unseen") {
  const TemporaryFolder folder;
  write_compressed(folder / "file", example(0.3), {.values = ValueCoding::int8});
  const std::string whole = content_of_file(folder / "file");
  for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string damaged = whole;
    damaged[bit / 8] = char(damaged[bit / 8] ^ (1 << bit % 8));
    store(folder / "damaged", damaged);
    CAPTURE(bit);
    CHECK(error_of(folder / "damaged").starts_with((folder / "damaged").string() + ": "));
  }
}

TEST_CASE("compressed file: what cannot be written says so and leaves the old file alone") {
  const TemporaryFolder folder;
  write_compressed(folder / "file", example(0.3), {});
  const std::string before = content_of_file(folder / "file");
  Safetensors stranger = example(0.3);
  stranger.tensors["mask/nobody"] = stranger.tensors.at("mask/dense_1.weight");
  CHECK_THROWS_WITH_AS(write_compressed(folder / "file", stranger, {}), doctest::Contains("the mask of no tensor"),
                       InvalidArgument);
  Safetensors wrong = example(0.3);
  wrong.tensors.at("mask/dense_1.weight").shape = {11, 7};
  CHECK_THROWS_AS(write_compressed(folder / "file", wrong, {}), InvalidArgument);
  CHECK_THROWS_AS(write_compressed(folder / "file", example(0.3), {.values = ValueCoding::kmeans, .bits = 9}),
                  InvalidArgument);
  CHECK_THROWS_AS(write_compressed(folder / "no" / "file", example(0.3), {}), FileError);
  CHECK(content_of_file(folder / "file") == before);
}

TEST_CASE("compressed file: a model loads from it as from its checkpoint, but no run resumes") {
  const TemporaryFolder folder;
  SmallRun run("sgd", 1, {.notes = model_notes(test::small_model(), test::small_data().normalisation)});
  run.trainer().run();
  run.trainer().save(folder / "checkpoint");
  SavedModel before = load_model(folder / "checkpoint");
  write_compressed(folder / "file",
                   content_of({.parameters = before.module->parameters(),
                               .buffers = before.module->buffers(),
                               .step = before.step,
                               .notes = before.notes}),
                   {.huffman = true});
  SavedModel after = load_model(folder / "file");
  CHECK(after.step == SmallRun::kSteps);
  CHECK(after.notes == before.notes);
  CHECK(evaluate(*after.module, run.data().test).loss == evaluate(*before.module, run.data().test).loss);
  CHECK_THROWS_WITH_AS(run.trainer().resume(folder / "file"), doctest::Contains("no run that could be resumed"),
                       CheckpointError);
  const auto bytes = [](const std::vector<StoredLayer>& layers) {
    std::int64_t sum = 0;
    for (const StoredLayer& layer : layers) sum += layer.bytes;
    return sum;
  };
  CHECK(bytes(stored_layers(folder / "file")) < bytes(stored_layers(folder / "checkpoint")));
}

TEST_CASE("compressed file: lenet-5 with 1 of 280 weights is 200 times smaller than dense") {
  const TemporaryFolder folder;
  Sequential model = zoo::build("lenet-5", {1, 28, 28}, 1);
  save_model(folder / "dense", model, {});
  const double densities[] = {0.33, 0.02, 0.002, 0.05};  // what variational dropout leaves of its four layers
  std::mt19937 engine(1);
  std::size_t layer = 0;
  std::int64_t parameters = 0, kept = 0;
  for (Parameter* parameter : model.parameters()) {
    parameters += parameter->size();
    if (parameter->value.shape().rank() < 2) {  // as training leaves a bias: full of values
      parameter->value.value().copy_from(Tensor::from(
          parameter->value.shape(), std::span<const float>(test::random_floats(std::size_t(parameter->size()), 1))));
      continue;
    }
    std::bernoulli_distribution alive(densities[layer++]);
    std::vector<std::uint8_t> keep(std::size_t(parameter->size()));
    for (auto& one : keep) kept += one = alive(engine);
    parameter->set_mask({Tensor::from(parameter->value.shape(), keep)});
  }
  CHECK(double(parameters) / double(kept) > 230);
  const Notes notes = model_notes(model, {});
  write_compressed(folder / "file",
                   content_of({.parameters = model.parameters(), .buffers = model.buffers(), .notes = notes}),
                   {.values = ValueCoding::kmeans, .huffman = true});
  const auto size = [&](const char* name) { return double(std::filesystem::file_size(folder / name)); };
  MESSAGE("dense " << size("dense") << " bytes, compressed " << size("file") << ", " << kept << " weights kept");
  CHECK(size("dense") / size("file") >= 200);
  CHECK(load_model(folder / "file").module->parameters().size() == 8);
}
