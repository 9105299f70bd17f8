// SGD and Adam against torch.optim's formulae in double, with and without masks, over several steps and many tensors.
#include "kernels/optimizer.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>

#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/reference/optimizer.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

constexpr int kSteps = 5;
constexpr double kEpsilon = 0x1p-24;
// Values of order 1 change by rate * direction; each step rounds weight, state and direction a few times.
constexpr double kTolerance = 8 * kSteps * kEpsilon;

std::vector<std::uint8_t> random_mask(std::size_t count, unsigned seed) {
  std::vector<std::uint8_t> keep;
  for (float value : random_floats(count, seed)) keep.push_back(value > 0.2f ? 1 : 0);
  return keep;
}

std::vector<std::uint32_t> bits_of(const std::vector<std::uint8_t>& keep) {
  std::vector<std::uint32_t> words((keep.size() + 31) / 32);
  for (std::size_t i = 0; i < keep.size(); ++i) words[i / 32] |= std::uint32_t(keep[i] != 0) << (i % 32);
  return words;
}

// A tensor on the device beside its reference; the odd ones are masked.
struct Tensor {
  OptimizedInDouble expected;
  GuardedBuffer<float> value, gradient, first, second;
  GuardedBuffer<std::uint32_t> keep;

  Tensor(std::size_t count, unsigned seed)
      : expected(random_floats(count, seed), seed % 2 == 1 ? random_mask(count, seed) : std::vector<std::uint8_t>()),
        value(random_floats(count, seed)),
        gradient(count),
        first(std::vector<float>(count, 0.0f)),
        second(std::vector<float>(count, 0.0f)),
        keep(bits_of(expected.keep)) {}

  const std::uint32_t* mask() const { return expected.keep.empty() ? nullptr : keep.data(); }
  bool guards_intact() const {
    return value.guards_intact() && first.guards_intact() && second.guards_intact() && keep.guards_intact() &&
           gradient.guards_intact();
  }
};

std::vector<Tensor> make_tensors(std::initializer_list<std::size_t> counts) {
  std::vector<Tensor> tensors;
  for (std::size_t count : counts) tensors.emplace_back(count, unsigned(tensors.size()));
  return tensors;
}

void check_tensors(const std::vector<Tensor>& tensors) {
  for (const Tensor& tensor : tensors) {
    INFO("tensor of ", tensor.value.size());
    CHECK(difference(tensor.value.download(), tensor.expected.w, kTolerance, kTolerance) == "");
    CHECK(difference(tensor.first.download(), tensor.expected.first, kTolerance, kTolerance) == "");
    CHECK(difference(tensor.second.download(), tensor.expected.second, kTolerance, kTolerance) == "");
    CHECK(tensor.guards_intact());
  }
}

// Bits, because -0.0f == 0.0f.
bool masked_are_positive_zero(const GuardedBuffer<float>& buffer, const std::vector<std::uint8_t>& keep) {
  const std::vector<float> values = buffer.download();
  for (std::size_t i = 0; i < keep.size(); ++i) {
    if (keep[i] == 0 && std::bit_cast<std::uint32_t>(values[i]) != 0) return false;
  }
  return true;
}

template <class State>
GuardedBuffer<State> on_device(const State& state) {
  return GuardedBuffer<State>(std::vector<State>{state});
}

void check_sgd(const SgdState& options, std::vector<Tensor> tensors) {
  INFO("momentum ", options.momentum, ", nesterov ", options.nesterov, ", decay ", options.weight_decay);
  GuardedBuffer<SgdState> state = on_device(options);
  std::vector<SgdTensor> list;
  for (Tensor& tensor : tensors) {
    float* momentum = options.momentum == 0.0f ? nullptr : tensor.first.data();
    list.push_back(
        {tensor.value.data(), tensor.gradient.data(), momentum, tensor.mask(), index_t(tensor.value.size())});
  }
  for (int step = 1; step <= kSteps; ++step) {
    for (Tensor& tensor : tensors) {
      const std::vector<float> gradient = random_floats(tensor.value.size(), unsigned(100 + step));
      tensor.gradient.upload(gradient);
      tensor.expected.sgd_step(options, gradient);
      if (options.momentum == 0.0f) tensor.expected.first.assign(gradient.size(), 0.0);
    }
    sgd_update(list, state.data(), nullptr);
  }
  CHECK(state.download()[0].step == kSteps);
  check_tensors(tensors);
}

void check_adam(const AdamState& options, std::vector<Tensor> tensors) {
  INFO("decay ", options.weight_decay, ", kind ", int(options.decay));
  GuardedBuffer<AdamState> state = on_device(options);
  std::vector<AdamTensor> list;
  for (Tensor& tensor : tensors) {
    list.push_back({tensor.value.data(), tensor.gradient.data(), tensor.first.data(), tensor.second.data(),
                    tensor.mask(), index_t(tensor.value.size())});
  }
  for (int step = 1; step <= kSteps; ++step) {
    for (Tensor& tensor : tensors) {
      const std::vector<float> gradient = random_floats(tensor.value.size(), unsigned(100 + step));
      tensor.gradient.upload(gradient);
      tensor.expected.adam_step(options, step, gradient);
    }
    adam_update(list, state.data(), nullptr);
  }
  CHECK(state.download()[0].step == kSteps);
  check_tensors(tensors);
}

}  // namespace

TEST_CASE("sgd_update: equals the formula in double for every option, with and without masks") {
  for (float momentum : {0.0f, 0.9f}) {
    for (float decay : {0.0f, 0.01f}) {
      for (int nesterov : {0, 1}) {
        check_sgd({.learning_rate = 0.1f,
                   .momentum = momentum,
                   .weight_decay = decay,
                   .gradient_scale = 0.5f,
                   .nesterov = nesterov},
                  make_tensors({1, 1, 37, 257, 2047, 2048, 2049, 8193}));
      }
    }
  }
}

TEST_CASE("adam_update: equals the formula in double for Adam and AdamW, with and without masks") {
  for (WeightDecay decay : {WeightDecay::l2, WeightDecay::decoupled}) {
    for (float amount : {0.0f, 0.05f}) {
      check_adam({.learning_rate = 0.01f, .weight_decay = amount, .gradient_scale = 2.0f, .decay = decay},
                 make_tensors({1, 1, 37, 257, 2047, 2048, 2049, 8193}));
    }
  }
}

TEST_CASE("sgd_update: more tensors than one table holds, empty ones among them") {
  std::vector<Tensor> tensors;
  for (unsigned i = 0; i < 150; ++i) tensors.emplace_back(i % 7 == 3 ? 0 : 1 + i * 3, i);
  check_sgd({.learning_rate = 0.1f, .momentum = 0.5f}, std::move(tensors));
}

TEST_CASE("optimizers: a masked weight and its state become +0.0f whatever weight, gradient and state were") {
  const float nan = std::nanf(""), infinity = HUGE_VALF;
  const std::vector<float> ugly = {-1.0f, nan, infinity, -0.0f, 1e-45f, -infinity, 0.5f, 2.0f};
  const std::vector<std::uint8_t> keep = {0, 0, 0, 0, 0, 0, 0, 1};
  for (float direction : {1.0f, -1.0f, nan}) {
    GuardedBuffer<float> w(ugly), m(ugly), v(ugly), gradient(std::vector<float>(ugly.size(), direction));
    GuardedBuffer<std::uint32_t> mask(bits_of(keep));
    GuardedBuffer<SgdState> sgd = on_device(SgdState{.momentum = 0.9f, .weight_decay = 0.1f});
    GuardedBuffer<AdamState> adam = on_device(AdamState{.weight_decay = 0.1f});
    const SgdTensor of_sgd{w.data(), gradient.data(), m.data(), mask.data(), index_t(ugly.size())};
    sgd_update(std::span(&of_sgd, 1), sgd.data(), nullptr);
    CHECK(masked_are_positive_zero(w, keep));
    CHECK(masked_are_positive_zero(m, keep));
    w.upload(ugly);
    m.upload(ugly);
    const AdamTensor of_adam{w.data(), gradient.data(), m.data(), v.data(), mask.data(), index_t(ugly.size())};
    adam_update(std::span(&of_adam, 1), adam.data(), nullptr);
    CHECK(masked_are_positive_zero(w, keep));
    CHECK(masked_are_positive_zero(m, keep));
    CHECK(masked_are_positive_zero(v, keep));
  }
}

TEST_CASE("sgd_update: a captured update follows a learning rate that changes after the capture") {
  GuardedBuffer<float> w(std::vector<float>{1.0f}), gradient(std::vector<float>{1.0f});
  GuardedBuffer<SgdState> state = on_device(SgdState{.learning_rate = 0.5f});
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  cuda_check(cudaStreamCreate(&stream));
  cuda_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  const SgdTensor tensor{w.data(), gradient.data(), nullptr, nullptr, 1};
  sgd_update(std::span(&tensor, 1), state.data(), stream);
  cuda_check(cudaStreamEndCapture(stream, &graph));
  cuda_check(cudaGraphInstantiate(&executable, graph, 0));
  cuda_check(cudaGraphLaunch(executable, stream));
  CHECK(w.download()[0] == 0.5f);
  state.upload(std::vector<SgdState>{{.learning_rate = 0.25f}});
  cuda_check(cudaGraphLaunch(executable, stream));
  CHECK(w.download()[0] == 0.25f);
  cuda_check(cudaGraphExecDestroy(executable));
  cuda_check(cudaGraphDestroy(graph));
  cuda_check(cudaStreamDestroy(stream));
}

TEST_CASE("sgd_update: rates of a list are taken by the number of the update, by replays of one capture too") {
  GuardedBuffer<float> w(std::vector<float>{0.0f}), gradient(std::vector<float>{-1.0f});
  const GuardedBuffer<float> rates(std::vector<float>{1.0f, 10.0f, 100.0f});
  GuardedBuffer<SgdState> state =
      on_device(SgdState{.learning_rate = 0.5f, .step = 6, .rates = {rates.data(), /*begin=*/7, /*end=*/10}});
  const SgdTensor tensor{w.data(), gradient.data(), nullptr, nullptr, 1};
  for (const float expected : {0.5f, 1.5f, 11.5f, 111.5f, 211.5f}) {  // the last of the list holds on
    sgd_update(std::span(&tensor, 1), state.data(), nullptr);
    CHECK(w.download()[0] == expected);
  }
  CHECK(state.download()[0].learning_rate == 100.0f);
  CHECK(state.download()[0].step == 11);
  CHECK(state.download()[0].finished_blocks == 0);
}

TEST_CASE("adam_update: corrections kept from the update before equal those worked out anew") {
  const std::vector<float> start = random_floats(5, 1), slope = random_floats(5, 2);
  GuardedBuffer<float> kept[4] = {GuardedBuffer<float>(start), GuardedBuffer<float>(slope), GuardedBuffer<float>(5),
                                  GuardedBuffer<float>(5)};
  std::vector<float> results[2];
  for (const bool anew : {false, true}) {
    kept[0].upload(start);
    for (int moment : {2, 3}) kept[moment].upload(std::vector<float>(5, 0.0f));
    const AdamTensor tensor{kept[0].data(), kept[1].data(), kept[2].data(), kept[3].data(), nullptr, 5};
    GuardedBuffer<AdamState> state = on_device(AdamState{});
    for (int step = 0; step < kSteps; ++step) {
      if (anew) {
        AdamState resumed = state.download()[0];
        resumed.bias_correction1 = 0.0f;
        state.upload(std::vector<AdamState>{resumed});
      }
      adam_update(std::span(&tensor, 1), state.data(), nullptr);
    }
    results[anew] = kept[0].download();
  }
  CHECK(results[0] == results[1]);
}

TEST_CASE("sgd_update: tensors off 16-byte boundaries are updated as well") {
  for (const std::size_t offset : {std::size_t(1), std::size_t(3)}) {
    const std::size_t count = 2051;
    const std::vector<float> start = random_floats(count + offset, 1), slope = random_floats(count, 2);
    GuardedBuffer<float> w(start), gradient(slope);
    GuardedBuffer<SgdState> state = on_device(SgdState{.learning_rate = 0.5f});
    const SgdTensor tensor{w.data() + offset, gradient.data(), nullptr, nullptr, index_t(count)};
    sgd_update(std::span(&tensor, 1), state.data(), nullptr);
    const std::vector<float> updated = w.download();
    for (std::size_t i = 0; i < offset; ++i) CHECK(updated[i] == start[i]);
    for (std::size_t i = 0; i < count; ++i) CHECK(updated[i + offset] == start[i + offset] - 0.5f * slope[i]);
    CHECK(w.guards_intact());
  }
}

// What an update of kept weights alone leaves, beside one of all weights under the same mask and gradients.
template <class State, class Entry>
void check_places(const State& initial, void (*update)(std::span<const Entry>, State*, cudaStream_t)) {
  for (const std::size_t count : {std::size_t(1), std::size_t(33), std::size_t(513), std::size_t(20'011)}) {
    const std::vector<std::uint8_t> keep = random_mask(count, 3);
    const std::vector<float> slope = random_floats(count, 2);
    std::vector<float> start = random_floats(count, 1), kept_slope;
    std::vector<std::int32_t> places;
    for (std::size_t i = 0; i < count; ++i) {
      if (keep[i] == 0) start[i] = 0.0f;
      if (keep[i] != 0) places.push_back(std::int32_t(i)), kept_slope.push_back(slope[i]);
    }
    std::vector<std::vector<float>> results[2];
    for (const bool alone : {false, true}) {
      GuardedBuffer<float> value(start), gradient(alone ? kept_slope : slope);
      GuardedBuffer<float> first(std::vector<float>(count, 0.0f)), second(std::vector<float>(count, 0.0f));
      const GuardedBuffer<std::uint32_t> bits(bits_of(keep));
      const GuardedBuffer<std::int32_t> at(places);
      GuardedBuffer<State> state = on_device(initial);
      Entry tensor{value.data(), gradient.data(), first.data()};
      if constexpr (std::is_same_v<Entry, AdamTensor>) tensor.second_moment = second.data();
      if (alone) tensor.places = at.data();
      if (!alone) tensor.keep = bits.data();
      tensor.count = index_t(gradient.size());
      for (int step = 0; step < kSteps; ++step) update(std::span<const Entry>(&tensor, 1), state.data(), nullptr);
      results[alone] = {value.download(), first.download(), second.download()};
      CHECK((value.guards_intact() && first.guards_intact() && second.guards_intact()));
    }
    for (std::size_t k = 0; k < 3; ++k) {  // on a CPU a compiler fuses other products with sums in either loop
      CHECK(difference(results[1][k], results[0][k], kTolerance, kTolerance) == "");
      for (std::size_t i = 0; i < count; ++i) {
        if (keep[i] == 0) REQUIRE(std::bit_cast<std::uint32_t>(results[1][k][i]) == 0);
      }
    }
  }
}

TEST_CASE("updates of kept weights alone equal updates under their mask, pruned weights and moments are not touched") {
  check_places<SgdState, SgdTensor>({.momentum = 0.9f, .weight_decay = 0.01f, .nesterov = 1}, sgd_update);
  check_places<AdamState, AdamTensor>({.weight_decay = 0.01f}, adam_update);
}
