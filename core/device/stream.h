// Streams and events. Every launch goes to current_stream(), which a StreamScope replaces for its lifetime.
#pragma once
#include "kernels/simt/simt.h"

namespace espalier {

class Stream {
 public:
  Stream();  // non-blocking with respect to the legacy default stream
  ~Stream();
  Stream(Stream&& other) noexcept;
  Stream& operator=(Stream&& other) noexcept;
  void wait() const;  // until all its work is done
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

// The stream of this thread: one created at first use, never the legacy default stream (which cannot be captured).
cudaStream_t current_stream();
void synchronize();  // waits for current_stream()
bool capturing();    // whether current_stream() is being captured into a graph

class StreamScope {
 public:
  explicit StreamScope(const Stream& stream);
  ~StreamScope();
  StreamScope(const StreamScope&) = delete;
  StreamScope& operator=(const StreamScope&) = delete;

 private:
  cudaStream_t previous_;
};

class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record();  // on current_stream()
  void wait() const;
  bool reached() const;  // asks, never waits
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

float elapsed_ms(const Event& begin, const Event& end);  // both recorded and reached

}  // namespace espalier
