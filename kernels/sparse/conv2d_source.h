// A pruned convolution as source text, compiled at run time for its weights alone: y = pool(activation(conv2d(x, W) +
// bias)), every kept weight a number in the code. A thread sums a cell of outputs, up to 2 x 2, for many filters in
// registers, so that a read of x serves as many multiply-adds as those filters have weights there: that is what indices
// cannot do, and why csr_conv2d (csr_conv2d.h), which reads 4 bytes of shared memory for each multiply-add, stops at
// half of an A100's fp32 peak and a quarter of newer GPUs'. A block takes a tile of one image or several whole ones;
// their part of x comes into shared memory, some channels at a time, zero-padded and with a stride split into its
// phases, as in csr_conv2d. Filters that do not share registers go to blocks that run one after another, so that one
// part of the code at a time is in the instruction cache.
// 2 * nonzeros * out_height * out_width flops per image; per thread and cell, a read of shared memory for each column
// pair of the part of x that it sees, 16 bytes of instruction for each nonzero and output of the cell. Any stride,
// padding and dilation, no groups. Z. Wang, SparseRT, PACT 2020, for weights in the instruction stream; Chen, Escoin,
// 2018, for the direct convolution.
#pragma once
#include <string>

#include "kernels/sparse/fused_network.h"
#include "kernels/sparse/network_source.h"

namespace espalier::kernels {

// What a layout is made for.
struct SourceDevice {
  index_t multiprocessors = 1, shared_bytes = 0;  // that one block may ask for
  index_t fp32_lanes = 128;                       // of a multiprocessor
};

// Who computes what, and how x lies in shared memory.
struct Conv2dSourceLayout {
  index_t cell_rows = 1, cell_columns = 1;  // outputs of a thread, of each of its filters
  index_t tile_rows = 0, tile_columns = 0;  // outputs of a block, of each of its images
  index_t images = 1, threads = 32;         // of a block
  index_t filters = 1, groups = 1;          // filters of a thread at most; parts that they are dealt to
  index_t phases_y = 1, phases_x = 1;       // planes of a channel
  index_t rows = 1, pitch = 1;              // of a plane
  index_t channels = 1, image = 0;          // in shared memory at once; floats from an image to the next
  index_t out_rows = 0, out_columns = 0;    // of an image, that are computed
  index_t loads = 0, registers = 0;         // reads of shared memory for a channel; an estimate
  double wavefronts = 1;                    // of one of them

  index_t sums() const { return filters * cell_rows * cell_columns; }
  index_t cells_x() const { return tile_columns / cell_columns; }
  index_t cells() const { return cells_x() * (tile_rows / cell_rows); }
  index_t tiles_x() const { return (out_columns + tile_columns - 1) / tile_columns; }
  index_t tiles() const { return tiles_x() * ((out_rows + tile_rows - 1) / tile_rows); }
  index_t plane() const { return rows * pitch; }
  index_t channel() const { return phases_y * phases_x * plane(); }
  index_t slab_floats() const { return images * image; }
  index_t blocks_together() const;  // of a multiprocessor, as far as registers go
};

// What a block does, warp by warp and of one part of the filters on average: the account that layouts are chosen by.
struct Conv2dSourceWork {
  double products = 0, instructions = 0, wavefronts = 0;
};

struct Conv2dSource {
  // Multiply-adds that a thread's code may hold, 128 KiB of instructions with what is around them; and of all parts.
  static constexpr index_t kMostProducts = 7680, kMostCode = 32768;
  static constexpr const char* kName = "espalier_conv2d";

  std::string text;
  Conv2dShape shape;  // of any batch
  Conv2dSourceLayout layout;
  index_t nonzeros = 0;
  index_t products = 0, loads = 0;  // multiply-adds and reads of shared memory of a thread, the parts together

  index_t blocks(index_t batch) const;
  index_t shared_bytes() const { return index_t(sizeof(float)) * layout.slab_floats(); }
  // Of the kernel. Throws InvalidArgument where the batch has too many blocks, or y is at no multiple of 8 bytes.
  simt::Launch launch(index_t batch, const float* y, cudaStream_t stream,
                      std::source_location where = std::source_location::current()) const;
};

// The layout that leaves the busiest multiprocessor least to do, by an account of instructions, wavefronts and waiting.
// Throws InvalidArgument where there is none: a kernel that sees more than shared memory holds, or too many nonzeros.
Conv2dSourceLayout conv2d_source_layout(const FusedProduct& product, index_t batch, const SourceDevice& device);

Conv2dSourceWork conv2d_source_work(const FusedProduct& product, const Conv2dSourceLayout& layout);

// For CUDA's compiler, or (host) for the emulation of it. Throws InvalidArgument, also where a weight is no number or
// the convolution has groups.
Conv2dSource conv2d_source(const FusedProduct& product, const Conv2dSourceLayout& layout, SourceTarget target);

}  // namespace espalier::kernels
