// What the emulated runtime's files share: streams, events, captures and the last error. Not for users.
#pragma once
#include <chrono>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "kernels/simt/emulated_runtime.h"

struct CUgraphNode_st {
  cudaGraphNodeType type;
  std::function<void()> work;
  std::vector<std::size_t> after;  // nodes that come before this one
};

struct CUgraph_st {
  std::vector<std::shared_ptr<CUgraphNode_st>> nodes;  // in order of recording, a valid order of execution
};

struct CUgraphExec_st {
  std::vector<std::shared_ptr<CUgraphNode_st>> nodes;
};

namespace espalier::simt::detail {

// A capture in progress. Streams join it by waiting for an event recorded in it and must be joined back at its end.
struct Capture {
  cudaStreamCaptureMode mode;
  cudaStream_t origin;
  std::thread::id thread;
  bool invalid = false;
  CUgraph_st graph;
  std::vector<cudaStream_t> streams;
};

using Frontier = std::set<std::size_t>;  // nodes that the next node of a stream must follow

cudaError_t failed(cudaError_t error);  // remembers it for cudaGetLastError(); passes cudaSuccess through
void count_host_wait();
cudaError_t refuse_in_capture();  // for calls that a capture on this thread forbids: invalidates it
cudaError_t refuse_legacy();      // for work on the default stream while a blocking stream captures
bool capture_in_progress();       // of any stream, by any thread
cudaError_t submit(cudaStream_t stream, cudaGraphNodeType type, std::function<void()> work);

}  // namespace espalier::simt::detail

struct CUstream_st {
  unsigned flags = 0;
  std::shared_ptr<espalier::simt::detail::Capture> capture;  // while this stream is part of one
  espalier::simt::detail::Frontier frontier;
};

struct CUevent_st {
  unsigned flags = 0;
  bool recorded = false;
  std::chrono::steady_clock::time_point time;
  std::weak_ptr<espalier::simt::detail::Capture> capture;  // of the last record
  bool captured = false;
  espalier::simt::detail::Frontier frontier;
};
