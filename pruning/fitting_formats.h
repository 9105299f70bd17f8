// Which sizes of the formats that have sizes a model's masks fit: vectors, blocks and V:N:M pay only where the weights
// that are left fill them.
//   compile(model, images.shape(), {.candidates = fitting_formats(model)});
#pragma once
#include <vector>

#include "layers/module.h"
#include "pruning/lowering.h"

namespace espalier::pruning {

inline constexpr double kFilled = 0.9;  // part of what a format stores that must be nonzero for its size to fit

// dense, csr and 2:4, and for each weight the tallest vectors (32 .. 4 rows), the largest square blocks (32 .. 8; of a
// convolution along the channels of each tap, too) and the tallest, widest V:N:M (128 or 64 rows, 32 .. 8 columns) that
// fit; of what fits none, the smallest usual size: vectors of 8, blocks of 8 and 128:2:8. Reads the weights on the
// host.
std::vector<Candidate> fitting_formats(Module& model);

}  // namespace espalier::pruning
