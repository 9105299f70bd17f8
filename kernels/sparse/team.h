// Who works on one run of outputs in the sparse products: the 32 lanes of a warp, or one CPU thread with vectors.
#pragma once
#include "kernels/shapes.h"
#include "kernels/simt/simt.h"
#include "kernels/simt/vectors.h"

namespace espalier::kernels {

// automatic: a warp on a GPU, a thread on a CPU. A CPU can run the warp's way, too: that is how it is tested. A GPU
// cannot run the thread's way, whose sums would not fit its registers.
enum class SparseTeam { automatic, warp, thread };

inline bool is_warp(SparseTeam team) { return !simt::kEmulated || team == SparseTeam::warp; }

struct WarpTeam {
  static constexpr int kLanes = 32, kPerBlock = 8;
};
struct ThreadTeam {
  static constexpr int kLanes = 1, kPerBlock = 1;
};

// function(WarpTeam()) or function(ThreadTeam()); a GPU build never sees the second.
template <class Function>
void with_team(SparseTeam team, Function function) {
  if (is_warp(team)) {
    function(WarpTeam());
  } else if constexpr (simt::kEmulated) {
    function(ThreadTeam());
  }
}

// Floats that a team reads at once.
inline index_t team_width(SparseTeam team) { return is_warp(team) ? 32 : simt::kLanes; }

}  // namespace espalier::kernels
