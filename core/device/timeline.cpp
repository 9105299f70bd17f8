#include "core/device/timeline.h"

#include <fmt/format.h>

#include <chrono>
#include <iterator>
#include <optional>
#include <vector>

#include "core/device/device_info.h"
#include "core/device/error.h"
#include "core/device/stream.h"

namespace espalier {
namespace {

constexpr int kProcess = 1, kHostTrack = 1, kDeviceTrack = 2;
constexpr std::size_t kUnresolved =
    2048;  // event pairs that may wait for the device before it is asked for their times

// Begin and end of a range on the device.
struct EventPair {
  Event begin, end;
};

struct TimedRange {
  const char* category;
  simt::RangeText text;
  double begin_us, duration_us;
  int track = kHostTrack;
};

struct OpenRange {
  const char* category = nullptr;  // null: not recorded
  simt::RangeText text = {};
  double begin_us = 0;
  std::unique_ptr<EventPair> events = nullptr;
};

struct UnresolvedRange {
  const char* category;
  simt::RangeText text;
  std::unique_ptr<EventPair> events;
};

std::string quoted(std::string_view text) {
  std::string json = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') json += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      json += fmt::format("\\u{:04x}", int(c));
    } else {
      json += c;
    }
  }
  return json + "\"";
}

}  // namespace

struct Timeline::State {
  using Clock = std::chrono::steady_clock;

  std::string process;
  TimelineOptions options;
  Clock::time_point start = Clock::now();
  std::optional<Event> device_start;  // at `start`, but for the microseconds that recording it takes
  std::vector<OpenRange> open;
  std::vector<UnresolvedRange> unresolved;
  std::vector<TimedRange> ranges;
  std::int64_t dropped = 0;

  double now_us() const { return std::chrono::duration<double, std::micro>(Clock::now() - start).count(); }

  void add(TimedRange range) {
    if (std::int64_t(ranges.size()) < options.max_ranges) {
      ranges.push_back(std::move(range));
    } else {
      ++dropped;
    }
  }
  void resolve() {
    for (UnresolvedRange& range : unresolved) {
      range.events->end.wait();
      add({range.category, std::move(range.text), 1e3 * elapsed_ms(*device_start, range.events->begin),
           1e3 * elapsed_ms(range.events->begin, range.events->end), kDeviceTrack});
    }
    unresolved.clear();
  }
  void close(OpenRange range) {
    add({range.category, range.text, range.begin_us, now_us() - range.begin_us});
    if (!range.events) return;
    range.events->end.record();
    unresolved.push_back({range.category, std::move(range.text), std::move(range.events)});
    if (unresolved.size() >= kUnresolved && !capturing()) resolve();
  }
};

Timeline::Timeline(std::string process, const TimelineOptions& options)
    : state_(std::make_unique<State>()), previous_(simt::range_listener) {
  state_->process = std::move(process);
  state_->options = options;
  if (!simt::kEmulated) {
    synchronize();
    state_->start = State::Clock::now();
    state_->device_start.emplace().record();
  }
  simt::range_listener = this;
}

Timeline::~Timeline() { simt::range_listener = previous_; }

void Timeline::begin(const char* category, simt::RangeText text) {
  OpenRange range;
  if (!capturing()) {
    range.category = category;
    range.text = std::move(text);
    if (!simt::kEmulated) {
      range.events = std::make_unique<EventPair>();
      range.events->begin.record();
    }
    range.begin_us = state_->now_us();
  }
  state_->open.push_back(std::move(range));
}

void Timeline::end() noexcept {
  if (state_->open.empty()) return;  // began before this timeline did
  OpenRange range = std::move(state_->open.back());
  state_->open.pop_back();
  if (range.category == nullptr) return;
  try {
    state_->close(std::move(range));
  } catch (const DeviceError&) {
    ++state_->dropped;  // the failure is reported by the work that caused it, not by who watches
  }
}

// The Trace Event Format: complete events, and metadata that names process and tracks.
std::string Timeline::to_json() {
  state_->resolve();
  const DeviceInfo device = device_info();
  std::string json = "{\"displayTimeUnit\": \"ms\",\n\"otherData\": {";
  auto out = std::back_inserter(json);
  fmt::format_to(out, "\"device\": {}, \"dropped_ranges\": {}}},\n\"traceEvents\": [\n", quoted(device.name),
                 state_->dropped);
  const auto name = [&](const char* what, int track, const std::string& called) {
    fmt::format_to(out, "{{\"ph\": \"M\", \"name\": \"{}\", \"pid\": {}, \"tid\": {}, \"args\": {{\"name\": {}}}}},\n",
                   what, kProcess, track, quoted(called));
  };
  name("process_name", kHostTrack, state_->process + " (" + device.name + ")");
  if (!simt::kEmulated) name("thread_name", kDeviceTrack, "device: " + device.name);
  for (const TimedRange& range : state_->ranges) {
    fmt::format_to(out,
                   "{{\"ph\": \"X\", \"name\": {}, \"cat\": \"{}\", \"pid\": {}, \"tid\": {}, \"ts\": {:.3f}, "
                   "\"dur\": {:.3f}, \"args\": {{",
                   quoted(range.text.name), range.category, kProcess, range.track, range.begin_us, range.duration_us);
    if (!range.text.detail.empty()) fmt::format_to(out, "\"detail\": {}", quoted(range.text.detail));
    json += "}},\n";
  }
  name("thread_name", kHostTrack, simt::kEmulated ? "host: layers and kernels" : "host: launches");  // ends the list
  json.erase(json.size() - 2);
  return json + "\n]}\n";
}

}  // namespace espalier
