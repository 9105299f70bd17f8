// Graph capture: what is recorded, what replays, and what a capture forbids.
#include <doctest/doctest.h>

#include <vector>

#include "kernels/simt/simt.h"

using namespace espalier;

namespace {

__global__ void add_kernel(float* values, float amount) { values[threadIdx.x] += amount; }

class Stream {
 public:
  explicit Stream(unsigned flags = cudaStreamNonBlocking) { cudaStreamCreateWithFlags(&stream_, flags); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

struct DeviceValues {
  DeviceValues() {
    cudaMalloc(&data, 4 * sizeof(float));
    cudaMemset(data, 0, 4 * sizeof(float));
  }
  ~DeviceValues() { cudaFree(data); }
  DeviceValues(const DeviceValues&) = delete;
  DeviceValues& operator=(const DeviceValues&) = delete;
  float* data = nullptr;
};

void add(const DeviceValues& values, float amount, cudaStream_t stream) {
  simt::launch(add_kernel, {dim3(1), dim3(4), 0, stream}, values.data, amount);
}

std::size_t node_count(cudaGraph_t graph) {
  std::size_t count = 0;
  CHECK(cudaGraphGetNodes(graph, nullptr, &count) == cudaSuccess);
  return count;
}

}  // namespace

TEST_CASE("capture: work is recorded with its arguments and runs at every launch of the graph") {
  const Stream stream;
  const DeviceValues values;
  float host[4] = {1, 2, 3, 4}, back[4] = {};
  int calls = 0;
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  CHECK(cudaMemcpyAsync(values.data, host, sizeof host, cudaMemcpyHostToDevice, stream) == cudaSuccess);
  add(values, 10.0f, stream);
  simt::enqueue(stream, [&calls] { ++calls; });
  CHECK(cudaLaunchHostFunc(
            stream, [](void* count) { ++*static_cast<int*>(count); }, &calls) == cudaSuccess);
  CHECK(cudaMemcpyAsync(back, values.data, sizeof back, cudaMemcpyDeviceToHost, stream) == cudaSuccess);
  CHECK(cudaMemsetAsync(values.data, 0, 4, stream) == cudaSuccess);
  cudaStreamCaptureStatus status;
  CHECK(cudaStreamIsCapturing(stream, &status) == cudaSuccess);
  CHECK(status == cudaStreamCaptureStatusActive);
  cudaGraph_t graph = nullptr;
  REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  CHECK(calls == 0);
  CHECK(values.data[0] == 0.0f);
  CHECK(node_count(graph) == 6);

  cudaGraphExec_t executable = nullptr;
  REQUIRE(cudaGraphInstantiate(&executable, graph) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  CHECK(cudaGraphLaunch(executable, stream) == cudaSuccess);
  CHECK(calls == 2);
  CHECK(back[3] == 14.0f);
  host[3] = 5;
  CHECK(cudaGraphLaunch(executable, stream) == cudaSuccess);
  CHECK(back[3] == 15.0f);
  CHECK(cudaGraphExecDestroy(executable) == cudaSuccess);
}

TEST_CASE("capture: nodes tell their types") {
  const Stream stream;
  const DeviceValues values;
  cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal);
  cudaMemsetAsync(values.data, 0, 16, stream);
  add(values, 1.0f, stream);
  cudaGraph_t graph = nullptr;
  REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  cudaGraphNode_t nodes[2] = {};
  std::size_t count = 2;
  CHECK(cudaGraphGetNodes(graph, nodes, &count) == cudaSuccess);
  cudaGraphNodeType type;
  CHECK(cudaGraphNodeGetType(nodes[0], &type) == cudaSuccess);
  CHECK(type == cudaGraphNodeTypeMemset);
  CHECK(cudaGraphNodeGetType(nodes[1], &type) == cudaSuccess);
  CHECK(type == cudaGraphNodeTypeKernel);
  cudaGraphDestroy(graph);
}

TEST_CASE("capture: synchronising, allocating and freeing break it") {
  const Stream stream;
  const DeviceValues values;
  const auto outcome = [&](auto forbidden) {
    cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal);
    const cudaError_t refused = forbidden();
    add(values, 0.0f, nullptr);  // other streams go on
    cudaGraph_t graph = nullptr;
    CHECK(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated);
    CHECK(graph == nullptr);
    cudaGetLastError();
    return refused;
  };
  void* pointer = nullptr;
  CHECK(outcome([&] { return cudaStreamSynchronize(stream); }) == cudaErrorStreamCaptureUnsupported);
  CHECK(outcome([&] { return cudaDeviceSynchronize(); }) == cudaErrorStreamCaptureUnsupported);
  CHECK(outcome([&] { return cudaMalloc(&pointer, 16); }) == cudaErrorStreamCaptureUnsupported);
  CHECK(outcome([&] { return cudaFree(values.data); }) == cudaErrorStreamCaptureUnsupported);
  CHECK(pointer == nullptr);
}

TEST_CASE("capture: a relaxed one lets memory be allocated") {
  const Stream stream;
  cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed);
  void* pointer = nullptr;
  CHECK(cudaMalloc(&pointer, 16) == cudaSuccess);
  CHECK(cudaFree(pointer) == cudaSuccess);
  cudaGraph_t graph = nullptr;
  CHECK(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  CHECK(node_count(graph) == 0);
  cudaGraphDestroy(graph);
}

TEST_CASE("capture: the default stream cannot be captured, nor used beside a blocking stream's capture") {
  CHECK(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeGlobal) == cudaErrorStreamCaptureUnsupported);
  const DeviceValues values;
  const Stream stream(cudaStreamDefault);
  cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal);
  CHECK(cudaMemset(values.data, 0, 16) == cudaErrorStreamCaptureImplicit);
  cudaGraph_t graph = nullptr;
  CHECK(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated);
  cudaGetLastError();
}

TEST_CASE("capture: a second stream joins by an event and must be joined back") {
  const Stream origin, side;
  const DeviceValues values;
  cudaEvent_t fork = nullptr, join = nullptr;
  cudaEventCreate(&fork);
  cudaEventCreate(&join);
  const auto capture = [&](bool join_back, cudaGraph_t* graph) {
    cudaStreamBeginCapture(origin, cudaStreamCaptureModeGlobal);
    add(values, 1.0f, origin);
    CHECK(cudaEventRecord(fork, origin) == cudaSuccess);
    CHECK(cudaStreamWaitEvent(side, fork) == cudaSuccess);
    add(values, 2.0f, side);
    CHECK(cudaEventRecord(join, side) == cudaSuccess);
    CHECK(cudaEventQuery(nullptr) == cudaErrorInvalidResourceHandle);
    if (join_back) CHECK(cudaStreamWaitEvent(origin, join) == cudaSuccess);
    return cudaStreamEndCapture(origin, graph);
  };
  cudaGraph_t graph = nullptr;
  CHECK(capture(false, &graph) == cudaErrorStreamCaptureUnjoined);
  REQUIRE(capture(true, &graph) == cudaSuccess);
  CHECK(node_count(graph) == 2);
  add(values, 4.0f, side);  // no longer captured
  CHECK(values.data[0] == 4.0f);
  cudaGraphDestroy(graph);
  cudaEventDestroy(fork);
  cudaEventDestroy(join);
  cudaGetLastError();
}

TEST_CASE("capture: a launch on a broken capture says so, and a refused launch is not recorded") {
  const Stream stream;
  const DeviceValues values;
  cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal);
  CHECK_THROWS_AS(simt::launch(add_kernel, {dim3(0), dim3(4), 0, stream}, values.data, 1.0f), simt::LaunchError);
  CHECK(cudaStreamSynchronize(stream) == cudaErrorStreamCaptureUnsupported);
  CHECK_THROWS_WITH_AS(add(values, 1.0f, stream), doctest::Contains("previous error during capture"),
                       simt::LaunchError);
  cudaGraph_t graph = nullptr;
  CHECK(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated);
  CHECK(cudaStreamEndCapture(stream, &graph) == cudaErrorIllegalState);
  cudaGetLastError();
}
