// A whole pruned network as source text, compiled at run time for it alone: every kept weight is a number in the code,
// so no index and no pointer is ever read, rows that keep the same input share one read of it, and what no later layer
// reads is not computed. A lane is an image; maps lie feature by feature, the images of a warp (on a CPU: of a vector)
// side by side. A dense layer is straight-line code, a convolution a loop over positions around straight-line taps.
// CUDA: 32 images a block; its 8 warps take different rows of a dense layer and different positions of a convolution.
// Maps that fit are in shared memory, the others in a scratch buffer of the caller, [feature][32] per block. x comes in
// whole 128-byte lines and is turned through shared memory, which costs 4 bytes a value and no bank conflict.
// Per image 2 flops for each multiply-add, at most 4 bytes of a map, and no byte of a weight but instructions (16 bytes
// each), which stay in the instruction cache up to some 4 K nonzeros. Wins where launches and indices cost more than
// products: small networks of few nonzeros. Z. Wang, SparseRT, PACT 2020, for weights in the instruction stream.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "kernels/sparse/fused_network.h"

namespace espalier::kernels {

enum class SourceTarget { host, cuda };

struct NetworkSource {
  // Of what is compiled. On a CPU the compiler's time is the limit, on a GPU the instruction cache.
  static constexpr index_t most_nonzeros(SourceTarget target) { return target == SourceTarget::cuda ? 8192 : 24576; }
  static constexpr index_t kMostProducts = 65536;  // written out in the text
  static constexpr int kImages = 32, kWarps = 8;   // of a block of the CUDA kernel
  static constexpr const char* kName = "espalier_network";

  std::string text;
  SourceTarget target = SourceTarget::host;
  index_t inputs = 0, outputs = 0;  // of an image
  index_t nonzeros = 0;             // in the text: of rows that a later layer reads
  index_t products = 0, loads = 0;  // multiply-adds and reads of a map, for an image
  index_t memory = 0;               // on a CPU: vectors; CUDA: floats of scratch for 32 images
  index_t shared_bytes = 0;         // CUDA: of a block
  // On a CPU the caller lays x and takes the result: vectors from the begin of the memory.
  index_t channels = 0, height = 0, width = 0, plane = 0, row = 0, origin = 0;  // of the first map
  index_t first = 0, first_size = 0, padding = 0, result = 0;
};

// Throws InvalidArgument where the products do not follow one another, where there are too many nonzeros, or where a
// weight is no number. `lanes` of a CPU's vector, and `registers` of those it has.
NetworkSource network_source(std::span<const FusedProduct> products, SourceTarget target, int lanes = simt::kLanes,
                             int registers = simt::kVectorRegisters);

}  // namespace espalier::kernels
