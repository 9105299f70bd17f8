// Radix selection of the highest scores, counts and fingerprints of masks; algorithm and cost in mask.h.
#include "kernels/mask.h"

#include <vector>

#include "kernels/tensor_table.h"

namespace espalier::kernels {
namespace {

constexpr int kMostDigits = 1 << 11;

struct Digit {  // bits [shift, shift + bits) of the key
  int shift, bits;
};
// 2048 counters are 8 KiB of shared memory; 8-bit digits would need a fourth pass. Two Zen 5 cores: 4.1 ns a score.
constexpr Digit kDigits[] = {{21, 11}, {10, 11}, {0, 10}};

struct Selection {
  std::uint32_t key;   // digits found so far of the k-th highest score, the rest 0
  std::uint64_t left;  // how many to keep among the scores that begin with these digits
};

struct SelectionMemory {
  Selection* selection;
  unsigned long long* histogram;  // [kMostDigits]
  std::uint32_t* ties;            // [chunks]

  explicit SelectionMemory(void* memory)
      : selection(static_cast<Selection*>(memory)),
        histogram(reinterpret_cast<unsigned long long*>(selection + 1)),
        ties(reinterpret_cast<std::uint32_t*>(histogram + kMostDigits)) {}
};

// Unsigned integers in the order of the scores.
__device__ std::uint32_t key_of(float score) {
  if (score != score) return 0xffffffffu;
  const std::uint32_t bits = __float_as_uint(score + 0.0f);  // -0 becomes +0
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

__global__ void begin_selection_kernel(std::uint64_t kept, Selection* selection, unsigned long long* histogram) {
  for_each_element(kMostDigits, [&](index_t i) { histogram[i] = 0; });
  if (blockIdx.x == 0 && threadIdx.x == 0) *selection = {0, kept};
}

// Counts the digit's values among the scores whose higher digits are those found so far. Counters in shared memory take
// the contention: the scores of one layer share few exponents.
template <int kThreads>
__global__ void count_digits_kernel(const TensorTable<ScoredTensor> table, Digit digit, const Selection* selection,
                                    unsigned long long* histogram) {
  __shared__ unsigned counters[kMostDigits];
  const int values = 1 << digit.bits, above = digit.shift + digit.bits;
  const std::uint32_t found = above < 32 ? selection->key >> above : 0;
  for (int i = int(threadIdx.x); i < values; i += kThreads) counters[i] = 0;
  __syncthreads();
  const Chunk chunk = table.chunk_of_block();
  const float* __restrict__ score = table.entry[chunk.tensor].score;
  Team<kThreads>::for_each(chunk.begin, chunk.end, [&](index_t i) {
    const std::uint32_t key = key_of(score[i]);
    if (above < 32 && key >> above != found) return;
    unsigned& counter = counters[key >> digit.shift & unsigned(values - 1)];
    if constexpr (kThreads == 1)
      ++counter;
    else
      atomicAdd(&counter, 1u);
  });
  __syncthreads();
  for (int i = int(threadIdx.x); i < values; i += kThreads) {
    if (counters[i] != 0) atomicAdd(&histogram[i], static_cast<unsigned long long>(counters[i]));
  }
}

// One block: finds the value of the digit where the scores counted from the top reach `left`, and clears the histogram.
template <int kThreads>
__global__ void choose_digit_kernel(Digit digit, Selection* selection, unsigned long long* histogram) {
  __shared__ unsigned long long of_thread[kThreads];
  const int values = 1 << digit.bits, each = (values + kThreads - 1) / kThreads;
  const int first = values - 1 - int(threadIdx.x) * each;  // this thread's run of values goes down from here
  unsigned long long mine = 0;
  for (int i = 0; i < each && first >= i; ++i) mine += histogram[first - i];
  of_thread[threadIdx.x] = mine;
  __syncthreads();
  if (threadIdx.x == 0) {
    std::uint64_t left = selection->left;
    int run = 0;
    while (run + 1 < kThreads && of_thread[run] < left) left -= of_thread[run++];
    int value = values - 1 - run * each;
    while (value > 0 && histogram[value] < left) left -= histogram[value--];
    selection->key |= std::uint32_t(value) << digit.shift;
    selection->left = left;
  }
  __syncthreads();
  for (int i = int(threadIdx.x); i < kMostDigits; i += kThreads) histogram[i] = 0;
}

template <int kThreads>
__global__ void count_ties_kernel(const TensorTable<ScoredTensor> table, const Selection* selection,
                                  std::uint32_t* ties) {
  const Chunk chunk = table.chunk_of_block();
  const float* __restrict__ score = table.entry[chunk.tensor].score;
  const std::uint32_t threshold = selection->key;
  std::uint32_t equal = 0;
  Team<kThreads>::for_each(chunk.begin, chunk.end,
                           [&](index_t i) { equal += key_of(score[i]) == threshold ? 1u : 0u; });
  equal = Team<kThreads>::reduce(equal, Sum());
  if (Team<kThreads>::leads()) ties[chunk.number] = equal;
}

// One block: ties[i] = how many ties lie before chunk i, never more than 2^32 - 1 (which is as good as all of them).
template <int kThreads>
__global__ void ties_before_kernel(index_t chunks, std::uint32_t* ties) {
  __shared__ std::uint64_t of_thread[kThreads];
  const index_t each = (chunks + kThreads - 1) / kThreads, begin = each * threadIdx.x;
  const index_t end = begin + each < chunks ? begin + each : chunks;
  std::uint64_t before = 0;
  for (index_t i = begin; i < end; ++i) before += ties[i];
  of_thread[threadIdx.x] = before;
  __syncthreads();
  before = 0;
  for (unsigned thread = 0; thread < threadIdx.x; ++thread) before += of_thread[thread];
  for (index_t i = begin; i < end; ++i) {
    const std::uint32_t here = ties[i];
    ties[i] = before < 0xffffffffu ? std::uint32_t(before) : 0xffffffffu;
    before += here;
  }
}

template <int kThreads>
__global__ void write_mask_kernel(const TensorTable<ScoredTensor> table, const Selection* selection,
                                  const std::uint32_t* ties_before) {
  using Block = Team<kThreads>;
  const Chunk chunk = table.chunk_of_block();
  const float* __restrict__ score = table.entry[chunk.tensor].score;
  std::uint8_t* __restrict__ keep = table.entry[chunk.tensor].keep;
  const std::uint32_t threshold = selection->key;
  const std::uint64_t before = ties_before[chunk.number];
  const std::uint64_t left = selection->left > before ? selection->left - before : 0;  // ties this chunk may keep
  if (left == 0 || left >= std::uint64_t(chunk.end - chunk.begin)) {                   // none or all: no order matters
    const bool keep_ties = left != 0;
    Block::for_each(chunk.begin, chunk.end, [&](index_t i) {
      const std::uint32_t key = key_of(score[i]);
      keep[i] = key > threshold || (keep_ties && key == threshold) ? 1 : 0;
    });
    return;
  }
  std::uint32_t rank = 0;  // ties in the rows of kThreads scores before this one
  for (index_t row = chunk.begin; row < chunk.end; row += kThreads) {
    const index_t i = row + Block::lane();
    const std::uint32_t key = i < chunk.end ? key_of(score[i]) : 0;
    const bool tie = i < chunk.end && key == threshold;
    const RankInTeam in_row = Block::rank(tie);
    if (i < chunk.end) keep[i] = key > threshold || (tie && rank + in_row.before < left) ? 1 : 0;
    rank += in_row.total;
  }
}

struct CountedTensor {
  const std::uint8_t* keep;
  unsigned long long* kept;
  index_t count;
};

__global__ void count_kept_kernel(const TensorTable<CountedTensor> table) {
  using Block = Team<Chunk::kThreads>;
  const Chunk chunk = table.chunk_of_block();
  const CountedTensor& tensor = table.entry[chunk.tensor];
  unsigned kept = 0;
  Block::for_each(chunk.begin, chunk.end, [&](index_t i) { kept += tensor.keep[i] != 0 ? 1u : 0u; });
  kept = Block::reduce(kept, Sum());
  if (Block::leads()) atomicAdd(tensor.kept, static_cast<unsigned long long>(kept));  // of integers: any order
}

// The finaliser of splitmix64 (Steele, Lea and Flood 2014).
__device__ unsigned long long scramble(unsigned long long x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

struct HashedTensor {
  const std::uint8_t* keep;
  unsigned long long* hash;
  index_t count;
};

// The sum of a random number per living position, and one for the size: no order, so any number of blocks may add.
__global__ void hash_mask_kernel(const TensorTable<HashedTensor> table) {
  using Block = Team<Chunk::kThreads>;
  const Chunk chunk = table.chunk_of_block();
  const HashedTensor& tensor = table.entry[chunk.tensor];
  unsigned long long sum = chunk.begin == 0 && Block::leads() ? scramble(~std::uint64_t(tensor.count)) : 0;
  Block::for_each(chunk.begin, chunk.end,
                  [&](index_t i) { sum += tensor.keep[i] != 0 ? scramble(static_cast<unsigned long long>(i)) : 0; });
  sum = Block::reduce(sum, Sum());
  if (Block::leads()) atomicAdd(tensor.hash, sum);
}

__global__ void magnitude_scores_kernel(index_t count, const float* __restrict__ weight, float* __restrict__ score) {
  for_each_element(count, [&](index_t i) { score[i] = fabsf(weight[i]); });
}

void zero(void* memory, std::size_t bytes, const char* launcher, cudaStream_t stream) {
  const cudaError_t status = cudaMemsetAsync(memory, 0, bytes, stream);
  require(status == cudaSuccess, launcher, ": clearing ", bytes, " bytes failed: ", cudaGetErrorString(status));
}

template <int kThreads>
void launch_keep_highest(std::span<const ScoredTensor> tensors, index_t kept, index_t chunks,
                         const SelectionMemory& work, cudaStream_t stream) {
  simt::launch(begin_selection_kernel, elements_grid(kMostDigits, stream), std::uint64_t(kept), work.selection,
               work.histogram);
  const simt::Launch one_block{dim3(1), dim3(kThreads), 0, stream};
  for (const Digit& digit : kDigits) {
    for_each_table(tensors, [&](const TensorTable<ScoredTensor>& table) {
      simt::launch(count_digits_kernel<kThreads>, table.launch(stream, kThreads), table, digit, work.selection,
                   work.histogram);
    });
    simt::launch(choose_digit_kernel<kThreads>, one_block, digit, work.selection, work.histogram);
  }
  for_each_table(tensors, [&](const TensorTable<ScoredTensor>& table) {
    simt::launch(count_ties_kernel<kThreads>, table.launch(stream, kThreads), table, work.selection, work.ties);
  });
  simt::launch(ties_before_kernel<kThreads>, one_block, chunks, work.ties);
  for_each_table(tensors, [&](const TensorTable<ScoredTensor>& table) {
    simt::launch(write_mask_kernel<kThreads>, table.launch(stream, kThreads), table, work.selection, work.ties);
  });
}

// One word a thread. Runs once per new mask, so it is plain.
__global__ void pack_keep_kernel(index_t count, const std::uint8_t* __restrict__ keep,
                                 std::uint32_t* __restrict__ bits) {
  for_each_element(mask_words(count), [&](index_t word) {
    const index_t first = 32 * word, left = count - first;
    std::uint32_t packed = 0;
    for (int bit = 0; bit < 32; ++bit) {
      if (bit < left && keep[first + bit] != 0) packed |= 1u << bit;
    }
    bits[word] = packed;
  });
}

}  // namespace

void magnitude_scores(index_t count, const float* weight, float* score, cudaStream_t stream) {
  if (count > 0) simt::launch(magnitude_scores_kernel, elements_grid(count, stream), count, weight, score);
}

std::size_t keep_highest_workspace_bytes(std::span<const ScoredTensor> tensors) {
  index_t chunks = 0;
  for (const ScoredTensor& tensor : tensors) chunks += chunks_of(tensor.count);
  return sizeof(Selection) + kMostDigits * sizeof(unsigned long long) + std::size_t(chunks) * sizeof(std::uint32_t);
}

void keep_highest(std::span<const ScoredTensor> tensors, index_t kept, void* workspace, cudaStream_t stream,
                  RowTeam team) {
  index_t total = 0, chunks = 0;
  for (const ScoredTensor& tensor : tensors) {
    total += tensor.count;
    chunks += chunks_of(tensor.count);
  }
  require(kept >= 0 && kept <= total, "keep_highest: ", kept, " of ", total, " scores cannot be kept");
  if (total == 0) return;
  const bool thread = team == RowTeam::thread || (team == RowTeam::automatic && simt::kEmulated);
  if (thread)
    launch_keep_highest<1>(tensors, kept, chunks, SelectionMemory(workspace), stream);
  else
    launch_keep_highest<256>(tensors, kept, chunks, SelectionMemory(workspace), stream);
}

void count_kept(std::span<const MaskedTensor> tensors, std::int64_t* kept, cudaStream_t stream) {
  if (tensors.empty()) return;
  zero(kept, tensors.size_bytes() / sizeof(MaskedTensor) * sizeof(std::int64_t), "count_kept", stream);
  std::vector<CountedTensor> counted;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    counted.push_back({tensors[i].keep, reinterpret_cast<unsigned long long*>(kept + i), tensors[i].count});
  }
  for_each_table(std::span<const CountedTensor>(counted), [&](const TensorTable<CountedTensor>& table) {
    simt::launch(count_kept_kernel, table.launch(stream), table);
  });
}

void pack_keep(index_t count, const std::uint8_t* keep, std::uint32_t* bits, cudaStream_t stream) {
  if (count == 0) return;
  simt::launch(pack_keep_kernel, elements_grid(mask_words(count), stream), count, keep, bits);
}

void hash_mask(index_t count, const std::uint8_t* keep, std::uint64_t* hash, cudaStream_t stream) {
  zero(hash, sizeof(*hash), "hash_mask", stream);
  const HashedTensor tensor{keep, reinterpret_cast<unsigned long long*>(hash), count};
  for_each_table(std::span(&tensor, 1), [&](const TensorTable<HashedTensor>& table) {
    simt::launch(hash_mask_kernel, table.launch(stream), table);
  });
}

}  // namespace espalier::kernels
