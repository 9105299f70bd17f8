#include "core/device/graph.h"

#include <doctest/doctest.h>

#include "core/device/device_info.h"
#include "core/device/error.h"
#include "core/device/timer.h"
#include "core/tensor/tensor.h"
#include "kernels/elementwise.h"
#include "kernels/shapes.h"

namespace espalier {
namespace {

void add_into(const Tensor& sum, const Tensor& term) {
  kernels::add(sum.size(), sum.data<float>(), term.data<float>(), sum.data<float>(), current_stream());
}

TEST_CASE("graph: the captured work runs once when captured and once per launch") {
  const Tensor sum = Tensor::zeros({5}), one = Tensor::full({5}, 1.0f);
  const Graph graph([&] { add_into(sum, one); });
  CHECK(sum.to_host() == std::vector<float>(5, 1.0f));
  for (int i = 0; i < 3; ++i) graph.launch();
  CHECK(sum.to_host() == std::vector<float>(5, 4.0f));
  CHECK(graph.node_count() == 1);
}

TEST_CASE("graph: intermediate tensors live in its own pool and stay valid") {
  const Tensor x = Tensor::full({1000}, 1.0f), y = Tensor::zeros({1000});
  Graph graph([&] {
    const Tensor twice = Tensor::like(x);
    kernels::add(x.size(), x.data<float>(), x.data<float>(), twice.data<float>(), current_stream());
    kernels::add(x.size(), twice.data<float>(), x.data<float>(), y.data<float>(), current_stream());
  });
  const auto allocations = graph.pool().statistics().device_allocations;
  const Tensor unrelated = Tensor::full({1000}, -7.0f);  // must not be given the graph's memory
  graph.launch();
  CHECK(y.to_host() == std::vector<float>(1000, 3.0f));
  CHECK(unrelated.to_host() == std::vector<float>(1000, -7.0f));
  CHECK(graph.pool().statistics().device_allocations == allocations);
}

TEST_CASE("graph: the counters of its pool take no memory from the tensors that its work makes anew") {
  constexpr std::int64_t kAsLarge = kernels::kArrivals * std::int64_t(sizeof(unsigned)) / std::int64_t(sizeof(float));
  Graph graph([&] {
    { const Tensor given_back = Tensor::empty({kAsLarge}); }
    current_pool().arrivals();
  });
  CHECK(graph.pool().statistics().device_allocations == 2);
}

TEST_CASE("graph: work that differs between its runs is refused, and the device stays usable") {
  int runs = 0;
  CHECK_THROWS_AS(Graph([&] { const Tensor grows = Tensor::zeros({++runs * 100000}); }), DeviceError);
  CHECK(Tensor::full({2}, 1.0f).to_host() == std::vector<float>(2, 1.0f));
}

TEST_CASE("graph: an exception in the work passes through and leaves no capture behind") {
  int runs = 0;
  CHECK_THROWS_AS(Graph([&] {
                    if (++runs == 2) throw InvalidArgument("second run");
                  }),
                  InvalidArgument);
  CHECK(Tensor::full({2}, 1.0f).to_host() == std::vector<float>(2, 1.0f));
}

TEST_CASE("benchmark: repeats within its bounds and orders its quartiles") {
  int calls = 0;
  const Tensor x = Tensor::zeros({16});
  const Timing timing =
      benchmark([&] { ++calls, add_into(x, x); }, {.warmup = 2, .min_repeats = 5, .max_repeats = 9, .budget_ms = 0});
  CHECK(timing.repeats == 5);
  CHECK(calls == 7);
  CHECK(timing.minimum_us <= timing.lower_quartile_us);
  CHECK(timing.lower_quartile_us <= timing.median_us);
  CHECK(timing.median_us <= timing.upper_quartile_us);
}

TEST_CASE("device info: names what the work runs on") {
  const DeviceInfo info = device_info();
  CHECK(info.emulated == simt::kEmulated);
  CHECK((info.name == "CPU emulation") == info.emulated);
  CHECK(info.multiprocessors >= 1);
  CHECK(info.compute_capability.empty() == info.emulated);
}

}  // namespace
}  // namespace espalier
