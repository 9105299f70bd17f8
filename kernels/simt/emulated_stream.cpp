// Streams, events and graphs of the emulated runtime. Work runs when it is given to a stream, so a stream holds no
// queue; while a stream captures, its work becomes nodes of a graph, with the dependencies that events made.
#include "kernels/simt/emulated_stream.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

using espalier::simt::detail::Capture;
using espalier::simt::detail::failed;

namespace espalier::simt::detail {
namespace {

std::atomic<std::int64_t> waits = 0;
thread_local cudaError_t last_error = cudaSuccess;
std::mutex captures_mutex;
std::vector<std::shared_ptr<Capture>> captures;  // in progress, of every thread
std::atomic<int> capture_count{0};

bool is_capturing(cudaStream_t stream) { return stream != nullptr && stream->capture != nullptr; }

cudaError_t invalidate(Capture& capture, cudaError_t error) {
  capture.invalid = true;
  return failed(error);
}

}  // namespace

void count_host_wait() { waits.fetch_add(1, std::memory_order_relaxed); }

cudaError_t failed(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

// A global capture forbids unsafe calls to every thread, a thread-local one to its own thread, a relaxed one to none.
cudaError_t refuse_in_capture() {
  if (capture_count == 0) return cudaSuccess;
  const std::lock_guard lock(captures_mutex);
  for (const auto& capture : captures) {
    const bool mine = capture->thread == std::this_thread::get_id();
    if (capture->mode == cudaStreamCaptureModeRelaxed || (capture->mode == cudaStreamCaptureModeThreadLocal && !mine)) {
      continue;
    }
    return invalidate(*capture, cudaErrorStreamCaptureUnsupported);
  }
  return cudaSuccess;
}

// The default stream waits for all blocking streams, which a capture cannot express.
cudaError_t refuse_legacy() {
  if (capture_count == 0) return cudaSuccess;
  const std::lock_guard lock(captures_mutex);
  for (const auto& capture : captures) {
    for (const cudaStream_t stream : capture->streams) {
      if ((stream->flags & cudaStreamNonBlocking) == 0) return invalidate(*capture, cudaErrorStreamCaptureImplicit);
    }
  }
  return cudaSuccess;
}

bool capture_in_progress() { return capture_count != 0; }

cudaError_t submit(cudaStream_t stream, cudaGraphNodeType type, std::function<void()> work) {
  if (stream == nullptr) {
    if (const cudaError_t refused = refuse_legacy()) return refused;
  }
  if (!is_capturing(stream)) {
    work();
    return cudaSuccess;
  }
  Capture& capture = *stream->capture;
  if (capture.invalid) return failed(cudaErrorStreamCaptureInvalidated);
  std::vector<std::size_t> after(stream->frontier.begin(), stream->frontier.end());
  stream->frontier = {capture.graph.nodes.size()};
  capture.graph.nodes.push_back(std::make_shared<CUgraphNode_st>(type, std::move(work), std::move(after)));
  return cudaSuccess;
}

}  // namespace espalier::simt::detail

namespace espalier::simt {

void enqueue(cudaStream_t stream, std::function<void()> work, cudaGraphNodeType type) {
  const cudaError_t status = detail::submit(stream, type, std::move(work));
  if (status != cudaSuccess) throw std::runtime_error(std::string("enqueue: ") + cudaGetErrorString(status));
}

std::int64_t host_waits() { return detail::waits; }

}  // namespace espalier::simt

namespace {

using namespace espalier::simt::detail;

cudaError_t wait_outside_capture(cudaStream_t stream) {
  if (is_capturing(stream)) return invalidate(*stream->capture, cudaErrorStreamCaptureUnsupported);
  return stream == nullptr ? refuse_legacy() : cudaSuccess;
}

// Every node must be an ancestor of what the origin stream does next.
bool all_joined(const Capture& capture) {
  std::vector<bool> reached(capture.graph.nodes.size(), false);
  for (const std::size_t node : capture.origin->frontier) reached[node] = true;
  for (std::size_t node = reached.size(); node-- > 0;) {
    if (!reached[node]) return false;
    for (const std::size_t before : capture.graph.nodes[node]->after) reached[before] = true;
  }
  return true;
}

void finish(const std::shared_ptr<Capture>& capture) {
  for (const cudaStream_t stream : capture->streams) {
    stream->capture = nullptr;
    stream->frontier.clear();
  }
  const std::lock_guard lock(captures_mutex);
  std::erase(captures, capture);
  capture_count = int(captures.size());
}

}  // namespace

cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }

cudaError_t cudaPeekAtLastError() { return last_error; }

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  if (stream == nullptr || flags > cudaStreamNonBlocking) return failed(cudaErrorInvalidValue);
  *stream = std::make_unique<CUstream_st>().release();
  (*stream)->flags = flags;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (stream == nullptr) return failed(cudaErrorInvalidResourceHandle);
  if (is_capturing(stream)) return invalidate(*stream->capture, cudaErrorStreamCaptureUnsupported);
  std::unique_ptr<CUstream_st>{stream};
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  espalier::simt::detail::count_host_wait();
  return wait_outside_capture(stream);
}

cudaError_t cudaStreamQuery(cudaStream_t stream) { return wait_outside_capture(stream); }

cudaError_t cudaDeviceSynchronize() {
  espalier::simt::detail::count_host_wait();
  return refuse_in_capture();
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (event == nullptr) return failed(cudaErrorInvalidResourceHandle);
  if (!event->captured) {
    if (is_capturing(stream)) return invalidate(*stream->capture, cudaErrorStreamCaptureIsolation);
    return cudaSuccess;
  }
  const std::shared_ptr<Capture> capture = event->capture.lock();
  if (capture == nullptr) return failed(cudaErrorCapturedEvent);
  if (stream == nullptr) return invalidate(*capture, cudaErrorStreamCaptureImplicit);
  if (is_capturing(stream) && stream->capture != capture) return invalidate(*capture, cudaErrorStreamCaptureMerge);
  if (!is_capturing(stream)) {
    stream->capture = capture;
    capture->streams.push_back(stream);
  }
  stream->frontier.insert(event->frontier.begin(), event->frontier.end());
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  if (event == nullptr) return failed(cudaErrorInvalidValue);
  *event = std::make_unique<CUevent_st>().release();
  (*event)->flags = flags;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (event == nullptr) return failed(cudaErrorInvalidResourceHandle);
  std::unique_ptr<CUevent_st>{event};
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (event == nullptr) return failed(cudaErrorInvalidResourceHandle);
  if (stream == nullptr) {
    if (const cudaError_t refused = refuse_legacy()) return refused;
  }
  event->captured = is_capturing(stream);
  event->recorded = !event->captured;
  event->time = std::chrono::steady_clock::now();
  if (event->captured) {
    event->capture = stream->capture;
    event->frontier = stream->frontier;
  }
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (event == nullptr) return failed(cudaErrorInvalidResourceHandle);
  if (!event->captured) return cudaSuccess;
  if (const auto capture = event->capture.lock()) capture->invalid = true;
  return failed(cudaErrorCapturedEvent);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  espalier::simt::detail::count_host_wait();
  return cudaEventQuery(event);
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (milliseconds == nullptr || start == nullptr || end == nullptr) return failed(cudaErrorInvalidResourceHandle);
  if (start->captured || end->captured) return failed(cudaErrorCapturedEvent);
  const bool timed = ((start->flags | end->flags) & cudaEventDisableTiming) == 0;
  if (!timed || !start->recorded || !end->recorded) return failed(cudaErrorInvalidResourceHandle);
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  if (stream == nullptr) return failed(cudaErrorStreamCaptureUnsupported);
  if (is_capturing(stream)) return failed(cudaErrorIllegalState);
  stream->capture = std::make_shared<Capture>();
  stream->capture->mode = mode;
  stream->capture->origin = stream;
  stream->capture->thread = std::this_thread::get_id();
  stream->capture->streams = {stream};
  const std::lock_guard lock(captures_mutex);
  captures.push_back(stream->capture);
  capture_count = int(captures.size());
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (graph == nullptr) return failed(cudaErrorInvalidValue);
  *graph = nullptr;
  if (!is_capturing(stream)) return failed(cudaErrorIllegalState);
  const std::shared_ptr<Capture> capture = stream->capture;
  if (capture->origin != stream) return invalidate(*capture, cudaErrorStreamCaptureUnmatched);
  if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != std::this_thread::get_id()) {
    return failed(cudaErrorStreamCaptureWrongThread);
  }
  const bool joined = all_joined(*capture);
  finish(capture);
  if (capture->invalid) return failed(cudaErrorStreamCaptureInvalidated);
  if (!joined) return failed(cudaErrorStreamCaptureUnjoined);
  *graph = std::make_unique<CUgraph_st>(std::move(capture->graph)).release();
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  if (stream == nullptr) {
    if (const cudaError_t refused = refuse_legacy()) return refused;
  }
  *status = !is_capturing(stream)      ? cudaStreamCaptureStatusNone
            : stream->capture->invalid ? cudaStreamCaptureStatusInvalidated
                                       : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* user_data) {
  if (function == nullptr) return failed(cudaErrorInvalidValue);
  return submit(stream, cudaGraphNodeTypeHost, [=] { function(user_data); });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  if (executable == nullptr || graph == nullptr) return failed(cudaErrorInvalidValue);
  *executable = std::make_unique<CUgraphExec_st>(graph->nodes).release();
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  if (executable == nullptr) return failed(cudaErrorInvalidValue);
  for (const auto& node : executable->nodes) {
    if (const cudaError_t status = submit(stream, node->type, node->work)) return status;
  }
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  if (graph == nullptr) return failed(cudaErrorInvalidValue);
  std::unique_ptr<CUgraph_st>{graph};
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  if (executable == nullptr) return failed(cudaErrorInvalidValue);
  std::unique_ptr<CUgraphExec_st>{executable};
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, std::size_t* count) {
  if (graph == nullptr || count == nullptr) return failed(cudaErrorInvalidValue);
  if (nodes == nullptr) {
    *count = graph->nodes.size();
    return cudaSuccess;
  }
  const std::size_t wanted = std::min(*count, graph->nodes.size());
  for (std::size_t i = 0; i < wanted; ++i) nodes[i] = graph->nodes[i].get();
  *count = wanted;
  return cudaSuccess;
}

cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType* type) {
  if (node == nullptr || type == nullptr) return failed(cudaErrorInvalidValue);
  *type = node->type;
  return cudaSuccess;
}
