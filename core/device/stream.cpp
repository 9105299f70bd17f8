#include "core/device/stream.h"

#include <utility>

#include "core/device/error.h"

namespace espalier {
namespace {

thread_local cudaStream_t scoped_stream = nullptr;

}  // namespace

Stream::Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
Stream::~Stream() {
  if (stream_) cudaStreamDestroy(stream_);
}
Stream::Stream(Stream&& other) noexcept : stream_(std::exchange(other.stream_, nullptr)) {}
Stream& Stream::operator=(Stream&& other) noexcept {
  std::swap(stream_, other.stream_);
  return *this;
}
void Stream::wait() const { check(cudaStreamSynchronize(stream_)); }

cudaStream_t current_stream() {
  static const Stream& process_stream = *new Stream;  // outlives every static tensor
  return scoped_stream ? scoped_stream : process_stream.get();
}

void synchronize() { check(cudaStreamSynchronize(current_stream())); }

bool capturing() {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(current_stream(), &status));
  return status != cudaStreamCaptureStatusNone;
}

StreamScope::StreamScope(const Stream& stream) : previous_(scoped_stream) { scoped_stream = stream.get(); }
StreamScope::~StreamScope() { scoped_stream = previous_; }

Event::Event() { check(cudaEventCreate(&event_)); }
Event::~Event() { cudaEventDestroy(event_); }
void Event::record() { check(cudaEventRecord(event_, current_stream())); }
void Event::wait() const { check(cudaEventSynchronize(event_)); }
bool Event::reached() const {
  const cudaError_t status = cudaEventQuery(event_);
  if (status == cudaErrorNotReady) {
    cudaGetLastError();  // "not ready" stays behind as the last error, which the next launch would take for its own
    return false;
  }
  check(status);
  return true;
}

float elapsed_ms(const Event& begin, const Event& end) {
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, begin.get(), end.get()));
  return milliseconds;
}

}  // namespace espalier
