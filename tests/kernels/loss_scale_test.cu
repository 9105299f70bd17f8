// Loss scaling on the device: overflow is found wherever it is, a bad step changes nothing but the scale, a good one
// equals an update without scaling bit for bit.
#include "kernels/loss_scale.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "kernels/optimizer.h"
#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

template <class State>
GuardedBuffer<State> on_device(const State& state) {
  return GuardedBuffer<State>(std::vector<State>{state});
}

// A scale on the device and what a step makes of it.
struct Scale {
  GuardedBuffer<float> scale;
  GuardedBuffer<LossScaleState> state;
  explicit Scale(float initial, const LossScaleState& options = {})
      : scale(std::vector<float>{initial}), state(on_device(options)) {}
  LossScale get() { return {scale.data(), state.data()}; }
  LossScaleState read() const { return state.download()[0]; }
  float value() const { return scale.download()[0]; }
  void overflow() {
    LossScaleState changed = read();
    changed.overflowed = 1;
    state.upload(std::vector<LossScaleState>{changed});
  }
};

std::vector<float> times(std::vector<float> values, float factor) {
  for (float& value : values) value *= factor;
  return values;
}

}  // namespace

TEST_CASE("find_overflow: one infinity or NaN anywhere in any tensor is found, and none where there is none") {
  for (const std::size_t count : {1, 7, 255, 257, 2047, 2048, 2049, 8193, 20011}) {
    INFO(count, " elements");
    const std::vector<float> host = times(random_floats(count, 1), 3e38f);
    GuardedBuffer<float> first(host), second(host);
    GuardedBuffer<LossScaleState> state = on_device(LossScaleState{});
    const std::vector<GradientTensor> list{
        {first.data(), index_t(count)}, {nullptr, 0}, {second.data(), index_t(count)}};
    find_overflow(list, state.data(), nullptr);
    CHECK(state.download()[0].overflowed == 0);
    for (const std::size_t place : {std::size_t(0), count / 2, count - 1}) {
      for (const float bad : {kNan, kInfinity, -kInfinity}) {
        std::vector<float> broken = host;
        broken[place] = bad;
        second.upload(broken);
        state.upload(std::vector<LossScaleState>{{}});
        find_overflow(list, state.data(), nullptr);
        CHECK(state.download()[0].overflowed == 1);
      }
    }
    second.upload(host);
    find_overflow(list, state.data(), nullptr);
    CHECK(state.download()[0].overflowed == 1);  // what was found stays until the step is judged
    CHECK(state.guards_intact());
  }
}

TEST_CASE("updates: the scale grows after enough good steps and shrinks after a bad one, within its bounds") {
  Scale scale(8, {.growth_interval = 3, .smallest = 2, .largest = 16});
  GuardedBuffer<float> w(std::vector<float>{1}), gradient(std::vector<float>{1});
  GuardedBuffer<SgdState> sgd = on_device(SgdState{.loss_scale = scale.get()});
  const SgdTensor tensor{w.data(), gradient.data(), nullptr, nullptr, 1};
  std::vector<float> scales;
  for (const char step : std::string("ggggggbgggbbb")) {
    if (step == 'b') scale.overflow();
    sgd_update({&tensor, 1}, sgd.data(), nullptr);
    CHECK(scale.read().overflowed == 0);
    scales.push_back(scale.value());
  }
  CHECK(scales == std::vector<float>{8, 8, 16, 16, 16, 16, 8, 8, 8, 16, 8, 4, 2});
  scale.overflow();
  sgd_update({&tensor, 1}, sgd.data(), nullptr);
  CHECK(scale.value() == 2);
  CHECK(scale.read().skipped_steps == 5);
  CHECK(scale.read().good_steps == 0);
  CHECK(sgd.download()[0].step == 9);  // a skipped step does not count
  CHECK(scale.scale.guards_intact());
  CHECK(scale.state.guards_intact());
  CHECK(sgd.guards_intact());
}

TEST_CASE("updates: a skipped step uses its listed rate up") {
  const std::vector<float> rates{0.5f, 0.25f, 0.125f};
  GuardedBuffer<float> list(rates), w(std::vector<float>{0}), gradient(std::vector<float>{-4});
  Scale scale(4);
  GuardedBuffer<SgdState> sgd = on_device(SgdState{.rates = {list.data(), 0, 3}, .loss_scale = scale.get()});
  const SgdTensor tensor{w.data(), gradient.data(), nullptr, nullptr, 1};
  std::vector<float> weights;
  for (const bool bad : {false, true, false, false}) {
    if (bad) scale.overflow();
    sgd_update({&tensor, 1}, sgd.data(), nullptr);
    if (bad) gradient.upload(std::vector<float>{-2});  // the scale is 2 now
    weights.push_back(w.download()[0]);
  }
  CHECK(weights == std::vector<float>{0.5f, 0.5f, 0.625f, 0.75f});  // beyond the list its last rate holds
  CHECK(sgd.download()[0].step == 3);
}

namespace {

// Four updates by SGD and by Adam; `bad_step` overflows and, without a scale, is left out.
std::vector<std::vector<float>> run(Scale* of_sgd, Scale* of_adam, int bad_step) {
  constexpr std::size_t kCount = 8201;  // two blocks
  const std::vector<float> zeros(kCount, 0.0f);
  const std::vector<std::uint32_t> keep(kCount / 32 + 1, 0xb6db6db6u);
  std::vector<float> weights = random_floats(kCount, 1);
  for (std::size_t i = 0; i < kCount; ++i) weights[i] = keep[i / 32] >> (i % 32) & 1u ? weights[i] : 0.0f;
  GuardedBuffer<float> w(weights), m(zeros), a(weights), first(zeros), second(zeros), gradient(kCount);
  GuardedBuffer<std::uint32_t> mask(keep);
  SgdState sgd_options{.learning_rate = 0.1f, .momentum = 0.9f, .weight_decay = 0.01f};
  AdamState adam_options{.learning_rate = 0.1f};
  if (of_sgd) sgd_options.loss_scale = of_sgd->get(), adam_options.loss_scale = of_adam->get();
  GuardedBuffer<SgdState> sgd = on_device(sgd_options);
  GuardedBuffer<AdamState> adam = on_device(adam_options);
  const SgdTensor sgd_tensor{w.data(), gradient.data(), m.data(), mask.data(), kCount};
  const AdamTensor adam_tensor{a.data(), gradient.data(), first.data(), second.data(), mask.data(), kCount};
  const GradientTensor gradients{gradient.data(), kCount};
  for (int step = 0; step < 4; ++step) {
    if (step == bad_step && !of_sgd) continue;
    std::vector<float> host = times(random_floats(kCount, unsigned(10 + step)), of_sgd ? of_sgd->value() : 1.0f);
    if (step == bad_step) host[kCount - 2] = step % 2 == 0 ? kNan : kInfinity;
    gradient.upload(host);
    for (Scale* scale : {of_sgd, of_adam}) {
      if (scale) find_overflow({&gradients, 1}, scale->state.data(), nullptr);
    }
    sgd_update({&sgd_tensor, 1}, sgd.data(), nullptr);
    adam_update({&adam_tensor, 1}, adam.data(), nullptr);
  }
  CHECK(w.guards_intact());
  CHECK(a.guards_intact());
  return {w.download(), m.download(), a.download(), first.download(), second.download()};
}

}  // namespace

TEST_CASE("updates: gradients times the scale give the bits of an unscaled update; overflow gives no update") {
  for (const int bad_step : {-1, 0, 1, 3}) {
    INFO("step ", bad_step, " overflows");
    Scale of_sgd(65536, {.growth_interval = 2}), of_adam(65536, {.growth_interval = 2});
    CHECK(run(&of_sgd, &of_adam, bad_step) == run(nullptr, nullptr, bad_step));
    for (const Scale* scale : {&of_sgd, &of_adam}) CHECK(scale->read().skipped_steps == (bad_step >= 0));
    CHECK(of_sgd.value() == of_adam.value());
  }
}
