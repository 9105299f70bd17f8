// What is chosen and why, by times that the tests decide: no clock has a say.
#include "pruning/selection.h"

#include <doctest/doctest.h>

#include <map>
#include <set>

#include "core/tensor/initialise.h"
#include "layers/dense.h"
#include "pruning/reason.h"
#include "tests/support/temporary_folder.h"

namespace espalier::pruning {
namespace {

// A dense layer of `rows` outputs and 40 inputs, of whose weights every tenth lives.
RecordedCall sparse_call(std::int64_t rows, std::int64_t batch = 3, std::size_t first_kept = 0) {
  std::vector<float> weight(std::size_t(rows) * 40, 0.0f);
  for (std::size_t i = first_kept; i < weight.size(); i += 10) weight[i] = 1.0f + float(i % 7);
  const auto function = std::make_shared<DenseFunction>();
  function->label = "dense_1";
  return {function, {kaiming_uniform({batch, 40}, 1), Tensor::from({rows, 40}, weight)}};
}

struct Stopwatch {
  std::map<std::string, double> us;  // by format, or "nothing"
  std::shared_ptr<int> asked = std::make_shared<int>(0);

  CompileOptions options(std::vector<Candidate> candidates = {dense(Math::handwritten), csr()}) const {
    const auto timer = [us = us, asked = asked](const TimedWork& work, const BenchmarkOptions&) {
      ++*asked;
      work.run();
      const double median = us.at(work.layer == "nothing" ? "nothing" : work.format);
      return Timing{.median_us = median, .lower_quartile_us = median - 1, .upper_quartile_us = median + 1};
    };
    return {.candidates = std::move(candidates), .rounds = 1, .timer = timer};
  }
};

bool says(const std::string& text, const char* words) { return text.find(words) != std::string::npos; }

TEST_CASE("selection: the fastest wins; a sparse one only by more than noise") {
  const auto format_at = [](double csr_us) {
    return choose(sparse_call(64), Stopwatch{{{"nothing", 1}, {"dense", 100}, {"csr", csr_us}}}.options()).step.format;
  };
  CHECK(format_at(97.9) == "csr");
  CHECK(format_at(98.1) == "dense");
  CHECK(format_at(150) == "dense");
  const Choice noise = choose(sparse_call(64), Stopwatch{{{"nothing", 1}, {"dense", 100}, {"csr", 99}}}.options());
  CHECK(says(noise.step.reason, "less than 2 % faster, which is noise"));
  CHECK(says(noise.step.candidates[1].note, "noise"));
}

TEST_CASE("selection: of several rounds the best median counts, with its quartiles") {
  CompileOptions options = Stopwatch{{{"nothing", 1}}}.options({dense(Math::handwritten)});
  options.rounds = 3;
  options.timer = [round = std::make_shared<int>(0)](const TimedWork&, const BenchmarkOptions&) {
    const double us = std::vector{30.0, 10.0, 20.0}[std::size_t((*round)++ % 3)];
    return Timing{.median_us = us, .upper_quartile_us = us + 5};
  };
  options.floor_us = 1;
  const PlanStep step = choose(sparse_call(64), options).step;
  CHECK(step.us == 10);
  CHECK(step.timing.upper_quartile_us == 15);
}

TEST_CASE("selection: the cache knows the floor of a launch, too, so that reasons say the same again") {
  const test::TemporaryFolder folder;
  const auto note_at = [&](double floor_us) {
    CompileOptions options = Stopwatch{{{"nothing", floor_us}, {"dense", 100}, {"csr", 200}}}.options();
    options.cache = PlanCache(folder.path());
    return choose(sparse_call(64), options).step.candidates[1].note;
  };
  const std::string first = note_at(1);
  CHECK(says(first, "below break-even"));
  CHECK(note_at(40) == first);
}

TEST_CASE("selection: the reason names what keeps a format from paying") {
  const std::map<std::string, double> slow{{"nothing", 1}, {"dense", 100}, {"csr", 200}};
  const Choice below = choose(sparse_call(64), Stopwatch{slow}.options());
  CHECK(says(below.step.reason, "below break-even: csr pays from about 95.0 % sparsity, this weight has 90.0 %"));
  CHECK(says(below.step.candidates[1].note, "2.00x the time of dense, handwritten; below break-even"));
  const Choice narrow = choose(sparse_call(10), Stopwatch{slow}.options());
  CHECK(says(narrow.step.reason, "too narrow: 10 rows"));
  const Choice tiny = choose(sparse_call(64), Stopwatch{{{"nothing", 90}, {"dense", 100}, {"csr", 200}}}.options());
  CHECK(says(tiny.step.reason, "launch-bound: dense takes 100.0 µs, a launch that does nothing 90.0 µs"));
  const Choice gain = choose(sparse_call(64), Stopwatch{{{"nothing", 45}, {"dense", 100}, {"csr", 50}}}.options());
  CHECK(says(gain.step.reason, "2.00x as fast as dense, handwritten (100.0 µs); launch-bound"));
}

TEST_CASE("selection: break-even takes what is beyond the launch as proportional to the weights kept") {
  CHECK(*break_even(200, 100, 0.9, 0) == doctest::Approx(0.95));
  CHECK(*break_even(110, 60, 0.8, 10) == doctest::Approx(0.9));
  CHECK(!break_even(200, 10, 0.9, 10));
}

TEST_CASE("selection: the first eligible format, whatever its time, to compare formats") {
  CompileOptions options =
      Stopwatch{{{"nothing", 1}, {"dense", 100}, {"csr", 200}, {"2:4", 300}}}.options({two_four(), csr(), dense()});
  options.selection = Selection::first_format;
  const Choice choice = choose(sparse_call(64), options);
  CHECK(choice.step.format == "2:4");  // every tenth weight: at most one in four neighbours
  options.candidates = {csr(), dense()};
  const PlanStep step = choose(sparse_call(64), options).step;
  CHECK(step.format == "csr");
  for (const MeasuredImplementation& one : step.candidates) CHECK(one.format == "csr");
}

TEST_CASE("selection: made dense, a choice keeps its times and gives the reason") {
  const Choice sparse = choose(sparse_call(64), Stopwatch{{{"nothing", 1}, {"dense", 100}, {"csr", 50}}}.options());
  const Choice dense = made_dense(sparse, "because");
  CHECK(dense.step.format == "dense");
  CHECK(dense.step.us == 100);
  CHECK(dense.step.reason == "because");
  CHECK(dense.step.candidates[1].note == "because");
  CHECK(dense.implementation.takes_weight);
}

TEST_CASE("selection: bytes and launches of each candidate are known") {
  const Choice choice = choose(sparse_call(64), Stopwatch{{{"nothing", 1}, {"dense", 100}, {"csr", 50}}}.options());
  const std::int64_t around = 4 * 3 * (40 + 64), nonzeros = 256;
  CHECK(choice.step.nonzeros == nonzeros);
  CHECK(choice.step.candidates[0].bytes == 4 * 64 * 40 + around);
  CHECK(choice.step.bytes == choice.step.weight_bytes + around);
  CHECK(choice.step.size.macs() == 3 * 64 * 40);
  for (const MeasuredImplementation& one : choice.step.candidates) CHECK(one.launches >= 1);
}

TEST_CASE("selection: what was measured once is not measured again, unless the question differs") {
  const test::TemporaryFolder folder;
  const Stopwatch stopwatch{{{"nothing", 1}, {"dense", 100}, {"csr", 50}}};
  CompileOptions options = stopwatch.options({dense(Math::handwritten)});
  options.cache = PlanCache(folder.path());
  options.floor_us = 1;
  const auto measurements = [&](const RecordedCall& call) {
    const int before = *stopwatch.asked;
    CHECK(choose(call, options).step.us == 100);
    return *stopwatch.asked - before;
  };
  CHECK(measurements(sparse_call(64)) == 1);
  CHECK(measurements(sparse_call(64)) == 0);
  CHECK(measurements(sparse_call(64, 3, 1)) == 1);  // zeros elsewhere
  CHECK(measurements(sparse_call(64, 4)) == 1);     // another batch
  options.candidates = {dense(Math::handwritten), csr()};
  CHECK(choose(sparse_call(64), options).step.format == "csr");  // another candidate
}

}  // namespace
}  // namespace espalier::pruning
