// dw of a convolution out of the sums that splits of a product leave in memory, [split, filter, (tap, padded channel)].
// Reads 4 bytes for each of them and writes 4 for each weight, both in whole sectors, whatever the order of dw.
#pragma once
#include "kernels/grid.h"
#include "kernels/shapes.h"

namespace espalier::kernels {

// How the product's columns (tap, padded channel) lie in dw: elements from one filter, tap or channel to the next.
struct WeightPlaces {
  float* dw;
  index_t filters, columns;  // of a product
  unsigned padded, channels;
  index_t filter, tap, channel;

  unsigned taps() const { return unsigned(columns) / padded; }
};

// dw = the sums of `splits` in ascending order, for the filters of all groups.
void weight_sums(const WeightPlaces& to, index_t filters, index_t splits, const float* sums, cudaStream_t stream);

}  // namespace espalier::kernels
