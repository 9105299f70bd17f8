// x [batch, features] as panels [batch / width, features, width]: `width` samples of one feature lie side by side, so
// that one nonzero of a weight multiplies a contiguous run, whatever column it stands in. Samples beyond the batch are
// zero. Costs one read and one write of x, which every row of the weight then reuses; it is bound by memory.
#pragma once
#include "kernels/sparse/team.h"

namespace espalier::kernels {

struct PanelShape {
  index_t batch = 0, features = 0, width = 0;
  index_t panels() const { return (batch + width - 1) / width; }
  index_t elements() const { return panels() * features * width; }
};

// One, two or four times what a team reads at once, whichever wastes least on this batch.
inline PanelShape panel_shape(index_t batch, index_t features, SparseTeam team) {
  const index_t unit = team_width(team);
  return {batch, features, batch <= unit ? unit : batch <= 2 * unit ? 2 * unit : 4 * unit};
}

void make_panels(const PanelShape& shape, const float* x, float* panels, SparseTeam team, cudaStream_t stream);

}  // namespace espalier::kernels
