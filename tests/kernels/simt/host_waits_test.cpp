// Counted at the emulated runtime: within an epoch a training run neither waits for the device nor allocates.
#include <doctest/doctest.h>

#include "tests/support/small_run.h"
#include "tests/support/temporary_folder.h"

using namespace espalier;
using espalier::test::SmallRun;

TEST_CASE("host_waits: counts what would wait, and not what only asks or enqueues") {
  const std::int64_t before = simt::host_waits();
  const Tensor tensor = Tensor::zeros({3});
  Event event;
  event.record();
  CHECK(event.reached());
  const std::int64_t allocated = simt::host_waits() - before;
  CHECK(allocated <= 1);
  tensor.to_host();
  synchronize();
  event.wait();
  CHECK(simt::host_waits() == before + allocated + 3);
}

TEST_CASE("trainer: within an epoch the host never waits, reports and the smaller last batch included") {
  const test::TemporaryFolder folder;
  std::vector<std::int64_t> waits;
  SmallRun run("adam", 1,
               {.report_every = 2, .metrics_file = folder / "metrics.jsonl", .after_step = [&](std::int64_t) {
                  waits.push_back(simt::host_waits());
                }});
  run.trainer().run();
  REQUIRE(waits.size() == 10);
  // The first epoch captures its two graphs; the second begins with the upload of its order and rates.
  for (std::size_t step = 6; step < 10; ++step) CHECK(waits[step] == waits[5]);
}
