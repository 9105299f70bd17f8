// Where the maps of a compiled network lie, which rows of its layers are computed at all, and by which function.
#pragma once
#include <span>
#include <vector>

#include "kernels/sparse/network_source.h"

namespace espalier::kernels {

// Features of a map, with a border of zeros where its reader pads.
struct SourceMap {
  index_t channels = 1, height = 1, width = 1, padding = 0;
  index_t stride = 1;   // from a feature to the next: of vectors, or of floats
  bool shared = false;  // CUDA: in the block's shared memory, else in the scratch
  index_t begin = 0;
  index_t row() const { return width + 2 * padding; }
  index_t plane() const { return (height + 2 * padding) * row(); }
  index_t origin() const { return padding * (row() + 1); }
  index_t features() const { return channels * plane(); }
  index_t size() const { return features() * stride; }
  const char* arena() const { return shared ? "espalier_shared" : "scratch"; }  // as CUDA's text calls it
};

struct SourceLayout {
  std::vector<SourceMap> maps;      // one more than layers
  index_t shared = 0, scratch = 0;  // sizes of the two arenas
};

SourceLayout source_layout(std::span<const FusedProduct> products, SourceTarget target);

// Where a filter's weight finds its input, in features from the first input of an output.
index_t feature_of(const FusedProduct& product, const SourceMap& in, index_t filter, index_t column);

// Per layer: the filters that the next one reads at all.
std::vector<std::vector<index_t>> needed_filters(std::span<const FusedProduct> products);

// The filters in groups of at most `most`, at least `groups` of them if there are so many filters; long and short ones
// are mixed, so that groups have about equally many nonzeros.
std::vector<std::vector<index_t>> deal_filters(const FusedProduct& product, std::vector<index_t> filters, index_t most,
                                               index_t groups);

}  // namespace espalier::kernels
