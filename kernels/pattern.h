// Pruning patterns beyond "the k highest" of mask.h. Memory bound: 5 bytes per weight.
#pragma once
#include <cstdint>

#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

// keep [batch, channels, area]: in each run of m channels, which lie `area` apart, the n highest scores live; a shorter
// last run keeps up to n as well. Of a matrix [rows, columns], area 1, these are runs of neighbours of a row. Among
// equal scores the earlier lives. 1 <= n <= m <= 32.
void keep_n_of_m(const PlanesShape& shape, int n, int m, const float* score, std::uint8_t* keep, cudaStream_t stream);

// score = keep ? score : -infinity, so that what was pruned ranks below everything that lives.
void bury_pruned(index_t count, const std::uint8_t* keep, float* score, cudaStream_t stream);

}  // namespace espalier::kernels
