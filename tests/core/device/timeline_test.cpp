// The timeline of a run: what it lists, how ranges nest, that it is JSON whatever the names are.
#include "core/device/timeline.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/autograd/place.h"
#include "core/device/graph.h"
#include "core/device/stream.h"
#include "core/tensor/tensor.h"
#include "kernels/elementwise.h"
#include "tests/support/small_run.h"

namespace espalier {
namespace {

struct Traced {
  nlohmann::json document;

  explicit Traced(Timeline& timeline) : document(nlohmann::json::parse(timeline.to_json())) {}
  // The ranges of that name on the first track, in order of their end.
  std::vector<nlohmann::json> named(const std::string& name) const {
    std::vector<nlohmann::json> found;
    for (const auto& event : document.at("traceEvents")) {
      if (event.at("ph") == "X" && event.at("tid") == 1 && event.at("name") == name) found.push_back(event);
    }
    return found;
  }
  std::size_t ranges() const {
    const auto& events = document.at("traceEvents");
    return std::size_t(std::count_if(events.begin(), events.end(),
                                     [](const auto& event) { return event.at("ph") == "X" && event.at("tid") == 1; }));
  }
};

bool contains(const nlohmann::json& outer, const nlohmann::json& inner) {
  const auto begin = [](const nlohmann::json& range) { return range.at("ts").get<double>(); };
  const auto end = [&](const nlohmann::json& range) { return begin(range) + range.at("dur").get<double>(); };
  const double rounding_us = 0.002;
  return begin(outer) <= begin(inner) + rounding_us && end(inner) <= end(outer) + rounding_us;
}

TEST_CASE("timeline: a kernel's launch lies inside the range around it and carries its size") {
  const Tensor x = Tensor::empty({1000});
  Timeline timeline("test");
  {
    const simt::Range range("layer", "dense_1", "forward");
    kernels::fill(1000, 1.0f, x.data<float>(), current_stream());
  }
  const Traced traced(timeline);
  REQUIRE(traced.named("dense_1 forward").size() == 1);
  REQUIRE(traced.named("elementwise fill").size() == 1);
  CHECK(contains(traced.named("dense_1 forward")[0], traced.named("elementwise fill")[0]));
  CHECK(traced.named("elementwise fill")[0].at("cat") == "kernel");
  CHECK(traced.named("elementwise fill")[0].at("args").at("detail").get<std::string>().starts_with("grid ("));
}

TEST_CASE("timeline: process and tracks have names, and odd characters do not break the JSON") {
  Timeline timeline("a \"quoted\" name\n");
  { const simt::Range range("layer", "back\\slash \t \"x\""); }
  const Traced traced(timeline);
  CHECK(traced.named("back\\slash \t \"x\"").size() == 1);
  std::vector<std::string> named;
  for (const auto& event : traced.document.at("traceEvents")) {
    if (event.at("ph") == "M") named.push_back(event.at("name").get<std::string>());
  }
  CHECK(std::count(named.begin(), named.end(), "process_name") == 1);
  CHECK(std::count(named.begin(), named.end(), "thread_name") >= 1);
}

TEST_CASE("timeline: it hears only what happens while it lives, and stops at its limit") {
  const auto nothing = [] { const simt::Range range("layer", "nothing"); };
  nothing();
  Timeline outer("outer");
  {
    Timeline inner("inner", {.max_ranges = 2});
    for (int i = 0; i < 5; ++i) nothing();
    const Traced traced(inner);
    CHECK(traced.ranges() <= 2);
    CHECK(traced.document.at("otherData").at("dropped_ranges").get<int>() >= 3);
  }
  nothing();
  CHECK(Traced(outer).named("nothing").size() == 1);
}

TEST_CASE("timeline: a graph shows as one eager run and its replays, a capture hides its launches") {
  const Tensor x = Tensor::empty({64});
  Timeline timeline("test");
  const Graph graph([&] { kernels::fill(64, 2.0f, x.data<float>(), current_stream()); });
  graph.launch();
  graph.launch();
  synchronize();
  const Traced traced(timeline);
  CHECK(traced.named("elementwise fill").size() == 1);
  CHECK(traced.named("capture").size() == 1);
  REQUIRE(traced.named("graph replay").size() == 2);
  CHECK(traced.named("graph replay")[0].at("args").at("detail") == "1 nodes");
}

TEST_CASE("timeline: a training run shows each layer's forward and backward, the update and the steps") {
  test::SmallRun run("sgd", /*seed=*/1);
  Timeline timeline("test");
  run.trainer().train_step();
  const Traced traced(timeline);
  for (const char* name : {"conv2d_1 forward", "batch_norm2d_1 backward", "max_pool2d_1 backward", "dense_1 backward",
                           "softmax_cross_entropy forward", "sgd update", "training step"}) {
    CAPTURE(name);
    CHECK(traced.named(name).size() == 1);
  }
  CHECK(contains(traced.named("training step").at(0), traced.named("sgd update").at(0)));
}

TEST_CASE("place: scopes nest, and outside of any there is none") {
  CHECK(current_place() == "");
  const PlaceScope outer("residual_1");
  {
    const PlaceScope inner("residual_1.conv2d_1");
    CHECK(current_place() == "residual_1.conv2d_1");
  }
  CHECK(current_place() == "residual_1");
}

}  // namespace
}  // namespace espalier
