// gemm() by the medium tile: see pipelined_tile.h. A file of its own, so that the tiles compile side by side.
#include "kernels/gemm_pipelined.h"

namespace espalier::kernels {

template void multiply_matrices<PipelinedMediumTile>(const GemmProduct&, Transpose, Transpose, cudaStream_t);

}  // namespace espalier::kernels
