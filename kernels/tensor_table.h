// One launch for many tensors. A table of them travels by value as the kernel's argument, so nothing is uploaded, a
// captured graph keeps its own copy, and a model of a dozen layers costs one launch instead of a dozen. Every tensor is
// cut into chunks, one block each; a block finds its tensor by bisection. 60 tensors of at most 56 bytes stay under
// the 4 KiB that every architecture takes as arguments. Device code: for .cu files only.
#pragma once
#include <algorithm>
#include <span>

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/warp.h"

namespace espalier::kernels {

struct Chunk {
  // A GPU wants many blocks of few elements per thread, a CPU few long runs: SGD of 121,930 weights with momentum on
  // two Zen 5 cores 14 us at 4096 to 16384 elements, 17 at 2048.
  static constexpr int kElements = simt::kEmulated ? 8192 : 2048, kThreads = simt::kEmulated ? 1 : 256;

  int tensor;          // in the table
  index_t begin, end;  // elements
  unsigned number;     // counted over all tables of the launch
};

template <class Entry>
struct TensorTable {
  static constexpr int kEntries = 60;

  Entry entry[kEntries];
  unsigned first_chunk[kEntries];  // of each entry, ascending
  int entries = 0;
  unsigned chunks = 0;
  unsigned chunks_before = 0;  // in tables launched earlier for the same call

  __device__ Chunk chunk_of_block() const {
    int low = 0, high = entries - 1;
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (first_chunk[middle] <= blockIdx.x)
        low = middle;
      else
        high = middle - 1;
    }
    const index_t begin = index_t(blockIdx.x - first_chunk[low]) * Chunk::kElements, count = entry[low].count;
    const index_t end = begin + Chunk::kElements < count ? begin + Chunk::kElements : count;
    return {low, begin, end, chunks_before + blockIdx.x};
  }

  simt::Launch launch(cudaStream_t stream, int threads = Chunk::kThreads,
                      std::source_location where = std::source_location::current()) const {
    return {dim3(chunks), dim3(unsigned(threads)), 0, stream, where};
  }
};

inline index_t chunks_of(index_t count) { return ceil_div<index_t>(count, Chunk::kElements); }

// Calls visit(table) with as few tables as hold all tensors that are not empty, in order.
template <class Entry, class Visit>
void for_each_table(std::span<const Entry> tensors, Visit visit) {
  TensorTable<Entry> table;
  static_assert(sizeof(table) <= 4096 - 256, "the table and a few arguments more must fit 4 KiB of kernel arguments");
  const auto flush = [&] {
    if (table.entries > 0) visit(std::as_const(table));
    table.chunks_before += table.chunks;
    table.entries = 0;
    table.chunks = 0;
  };
  for (const Entry& tensor : tensors) {
    require(tensor.count >= 0 && chunks_of(tensor.count) <= kMaxGridX / 2, "a tensor of ", tensor.count,
            " elements; between 0 and 2^40 can be processed");
    if (tensor.count == 0) continue;
    if (table.entries == TensorTable<Entry>::kEntries || table.chunks + chunks_of(tensor.count) > kMaxGridX) flush();
    table.entry[table.entries] = tensor;
    table.first_chunk[table.entries++] = table.chunks;
    table.chunks += unsigned(chunks_of(tensor.count));
  }
  flush();
}

}  // namespace espalier::kernels
