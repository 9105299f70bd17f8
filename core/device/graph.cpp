#include "core/device/graph.h"

#include "core/device/error.h"
#include "kernels/simt/range.h"

namespace espalier {

struct Graph::State {
  MemoryPool pool;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;

  ~State() {
    if (executable) cudaGraphExecDestroy(executable);
    if (graph) cudaGraphDestroy(graph);
  }
  void capture(const std::function<void()>& work) {
    const simt::Range range("graph", "capture");
    const Stream stream;
    const StreamScope scope(stream);
    check(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal));
    try {
      work();
    } catch (...) {  // leave the stream usable, then tell what went wrong
      cudaGraph_t abandoned = nullptr;
      cudaStreamEndCapture(stream.get(), &abandoned);
      if (abandoned) cudaGraphDestroy(abandoned);
      cudaGetLastError();
      throw;
    }
    check(cudaStreamEndCapture(stream.get(), &graph));
    check(cudaGraphInstantiate(&executable, graph, 0));
  }
};

Graph::Graph(const std::function<void()>& work) : state_(std::make_unique<State>()) {
  const PoolScope scope(state_->pool);
  work();
  synchronize();
  state_->capture(work);
}

Graph::~Graph() = default;
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;

void Graph::launch() const {
  const simt::Range range("graph", [&] {
    return simt::RangeText{"graph replay", std::to_string(node_count()) + " nodes"};
  });
  check(cudaGraphLaunch(state_->executable, current_stream()));
}

std::size_t Graph::node_count() const {
  std::size_t count = 0;
  check(cudaGraphGetNodes(state_->graph, nullptr, &count));
  return count;
}

MemoryPool& Graph::pool() { return state_->pool; }

}  // namespace espalier
