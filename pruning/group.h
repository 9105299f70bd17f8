// Which weights are scored, and may fall, together: a weight [out, in, ...] seen as a matrix [out, in * the rest], cut
// into equal tiles. A grouping is any function from a weight's shape to a tiling, so a user's own needs no
// registration.
#pragma once
#include <functional>

#include "core/tensor/shape.h"
#include "kernels/tiles.h"

namespace espalier::pruning {

using Grouping = std::function<kernels::TiledMatrix(const Shape& weight)>;

namespace group {

Grouping element();                                       // each weight on its own
Grouping row();                                           // one of out: a neuron's inputs, or a filter
inline Grouping filter() { return row(); }                // the same in the words of a convolution
inline Grouping neuron() { return row(); }                // ... and of a dense layer
Grouping column();                                        // one weight of each filter
Grouping channel();                                       // one of in: what reads one input channel or feature
Grouping kernel();                                        // one filter's window on one channel: 3 x 3 weights
Grouping block(std::int64_t rows, std::int64_t columns);  // of the matrix; blocks at the edges may be smaller
inline Grouping vector(std::int64_t length) { return block(length, 1); }  // down a column: length x 1

}  // namespace group
}  // namespace espalier::pruning
