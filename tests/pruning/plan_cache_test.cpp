// A cache of times gives back what it was given, and never stands in the way.
#include "pruning/plan_cache.h"

#include <doctest/doctest.h>

#include <fstream>

#include "core/train/atomic_file.h"
#include "tests/support/temporary_folder.h"

namespace espalier::pruning {
namespace {

const std::vector<CachedTime> kTimes{
    {{.median_us = 12.5, .lower_quartile_us = 12, .upper_quartile_us = 13.25, .minimum_us = 11, .repeats = 7}, 2},
    {{.median_us = 0.1}, 1}};

TEST_CASE("plan cache: gives back what was stored, bit for bit, and nothing for another question") {
  const test::TemporaryFolder folder;
  const PlanCache cache(folder / "deep/er");
  CHECK(!cache.find("a"));
  cache.store("a", kTimes);
  const auto found = PlanCache(folder / "deep/er").find("a");
  REQUIRE(found.has_value());
  REQUIRE(found->size() == 2);
  CHECK((*found)[0].timing.median_us == 12.5);
  CHECK((*found)[0].timing.upper_quartile_us == 13.25);
  CHECK((*found)[0].timing.repeats == 7);
  CHECK((*found)[0].launches == 2);
  CHECK((*found)[1].timing.median_us == 0.1);
  CHECK(!cache.find("b"));
}

TEST_CASE("plan cache: off, it knows nothing and writes nothing") {
  const PlanCache off;
  off.store("a", kTimes);
  CHECK(!off.on());
  CHECK(!off.find("a"));
}

TEST_CASE("plan cache: a damaged file is told of, ignored and written again") {
  const test::TemporaryFolder folder;
  std::string told;
  const PlanCache cache(folder.path(), [&](const std::string& text) { told = text; });
  for (const char* damage :
       {"", "{\"question\": \"a\", \"ti", "[1, 2]", "{\"question\": \"a\", \"times\": [{}]}", "\xff\xfe\x00"}) {
    CAPTURE(damage);
    cache.store("a", kTimes);
    write_file_atomically(cache.file_of("a"), damage);
    told.clear();
    CHECK(!cache.find("a"));
    CHECK(told == cache.file_of("a").string() + " is damaged; measuring anew");
    cache.store("a", kTimes);
    told.clear();
    CHECK(cache.find("a").has_value());
    CHECK(told == "");
  }
}

TEST_CASE("plan cache: a file of another question under the same name is no answer, and no damage") {
  const test::TemporaryFolder folder;
  std::string told;
  const PlanCache cache(folder.path(), [&](const std::string& text) { told = text; });
  cache.store("b", kTimes);
  std::filesystem::rename(cache.file_of("b"), cache.file_of("a"));
  CHECK(!cache.find("a"));
  CHECK(told == "");
}

TEST_CASE("plan cache: a folder that cannot be made is told of once, and nothing fails") {
  const test::TemporaryFolder folder;
  std::ofstream(folder / "file") << "in the way";
  int told = 0;
  const PlanCache cache(folder / "file/plans", [&](const std::string&) { ++told; });
  for (int i = 0; i < 3; ++i) cache.store("a", kTimes);
  CHECK(told == 1);
  CHECK(!cache.find("a"));
}

TEST_CASE("plan cache: the user's folder, and whose times it holds") {
  const test::EnvironmentScope cache("XDG_CACHE_HOME", "/somewhere");
  CHECK(user_plan_cache() == "/somewhere/espalier/plans");
  CHECK(measured_on() == measured_on());
}

}  // namespace
}  // namespace espalier::pruning
