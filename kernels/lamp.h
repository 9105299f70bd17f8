// LAMP: scores that compare across layers, s^2 over the sum of the squares of all scores of the layer that are not
// smaller, so the highest of each layer scores 1 and a global ranking never empties a layer (Lee et al. 2021, arXiv
// 2010.07611, equation 4). The sums need the scores in order: a merge sort in which each element finds its place by
// bisection of the neighbouring run, log2(n) passes of 8 bytes per score and log2(n) reads from cache, then a running
// sum in double. 121,930 scores: 17 passes, 17 MB. A radix sort would move less; scoring is rare.
#pragma once
#include <cstddef>

#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

// lamp [count] of score [count], all at least 0; equal scores get equal results, and a layer of zeros scores 0.
std::size_t lamp_scores_workspace_bytes(index_t count);
void lamp_scores(index_t count, const float* score, float* lamp, void* workspace, cudaStream_t stream);

}  // namespace espalier::kernels
