// A piece of device work captured once as a CUDA graph and launched as often as wanted, without host cost per kernel.
#pragma once
#include <cstddef>
#include <functional>
#include <memory>

#include "core/device/memory.h"
#include "core/device/stream.h"

namespace espalier {

class Graph {
 public:
  // Runs `work` once eagerly (which reserves its memory in a pool of this graph and warms caches), then captures a
  // second run. `work` must do the same launches each time and keep no tensor that it made in an earlier run.
  // Both runs count: a training step captured here has been taken once, not twice (a capture runs nothing).
  // Tensors it leaves behind belong to the graph's pool and are overwritten by each launch.
  explicit Graph(const std::function<void()>& work);
  ~Graph();
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;

  void launch() const;  // on current_stream()
  std::size_t node_count() const;
  MemoryPool& pool();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace espalier
