// Convolution by stencil: kernels of 3x3 and 5x5, dilation 1, stride 1 and, of 3x3, 2. A block keeps a few
// channels of its part of some images in shared memory, each element once and not once per tap; a thread makes a strip
// of 2 x 4 outputs (two windows of a 2x2 pool) for kFilters filters in registers, from a (k + 1) x 8 patch in registers
// (of stride 2 one of even and one of odd columns) and weights that its quarter of a warp shares. Against an implicit
// GEMM with 8 x 8 sums a thread it copies a ninth or a 25th of the floats into shared memory and reads 128 bits of that
// for 18 to 25 multiply-adds instead of 16. Costs flops(); x is read once per tile of filters, w once per block. Of
// stride 1 it wins wherever it applies, save maps of so few pixels that strips stay empty; of stride 2 see
// pays_stencil(). After Lavin, maxDNN: An Efficient Convolution Kernel for Deep Learning with Maxwell GPUs (2015),
// section 3.
//
// One kernel computes forward (source x; sink y, or what a pool leaves of it) and the input gradient (source dy or what
// PooledGradient makes; filters and channels swapped, the weights turned by 180 degrees). Of a stride of 2 the input
// gradient is made by cells of 2 x 2: strips are of cells, not one multiplication is by an inserted zero.
#pragma once
#include "kernels/conv2d_weight_parts.h"
#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

// Outputs of a thread, and the floats that it reads of a row of the source.
constexpr int kStripRows = 2, kStripColumns = 4, kStripPatch = 8;
// The most threads of a block: up to 255 registers each, of which the kernels take 130 to 200.
constexpr int kStencilThreads = 256;
// Channels in shared memory at a time, in each of two buffers. Four filters' taps of a 5x5 kernel are 100 floats, 13
// sectors of memory where 12.5 would do; of two channels they were 7 for 6.25. Of a stride of 2, whose strips need four
// times the source, two leave room for more strips.
__host__ __device__ constexpr int stencil_channels(int stride) { return stride == 1 ? 4 : 2; }
// The kernel of an input gradient made by cells: a cell of 2 x 2 results meets 2 x 2 outputs' gradients, to each of
// them by some of the weights of a 3x3 kernel. With an odd padding cells begin at even rows and columns.
inline constexpr int kCellKernel = 2;
__host__ __device__ constexpr int weight_width(int kernel) { return kernel == kCellKernel ? 3 : kernel; }
__host__ __device__ constexpr int cell_results(int kernel) { return kernel == kCellKernel ? 4 : 1; }
// Lists of copies hold so many entries, where a channel's do not suffice: of several channels.
constexpr int kListedItems = 1024;

// A list entry of a pooled source holds a window of a plane in so many bits.
constexpr int kWindowBits = 20;

// What a launch computes, in device integers. `channels` are summed over and `filters` are made, both of a group.
struct StencilProblem {
  int kernel = 3, channels = 1, filters = 1, groups = 1;
  int height = 1, width = 1;          // of a plane of the source
  int out_height = 1, out_width = 1;  // of what is computed: cells where the kernel is kCellKernel
  int padding = 0;                    // of the source; negative: cropped
  int stride = 1;                     // from output to output in the source: 1 or 2
  // Columns of shared memory before a tile's first one: a pool's windows lie in whole pairs of floats where this and
  // the padding are both odd. A kernel of 3x3 uses 6 of a patch's 8 columns.
  int shift = 0;
  index_t batch = 1;

  __host__ __device__ int source_rows(int strips) const { return stride * (kStripRows * strips - 1) + kernel; }
  __host__ __device__ int source_columns(int strips) const { return stride * (kStripColumns * strips - 1) + kernel; }
};

// Weights in shared memory: [channels of a step, filter groups, filters of a thread, taps]. The floats of a group,
// which a thread reads four at a time; lanes that read two neighbouring groups at once find them in different banks.
constexpr int group_weights(int kernel, int filters) {
  const int floats = (filters * kernel * kernel + 3) / 4 * 4;
  return floats % 32 == 0 ? floats + 4 : floats;
}

// Whether strips of a kernel with so many filters a thread may leave by rows (conv2d_stencil_rows.h), and how many of
// the filters do together. Those of 3x3: others would take registers for it that they have not got.
constexpr bool leaves_by_rows(int filters) { return filters % 4 == 0; }
constexpr int filters_by_rows(int filters) { return filters / 2; }

// How blocks cut it: a block makes images x down x across strips of filter_groups times kFilters filters. Where that
// makes too few threads, several teams of them share the channels and add their sums in the end.
struct StencilTile {
  int images = 1, down = 1, across = 1, filter_groups = 1, teams = 1;
  int tiles_down = 1, tiles_across = 1;  // of an image
  index_t image_blocks = 1;              // that loop over the images
  // Floats of shared memory from a row to the next, from a pair of rows (or two) to the next, an image, a channel to
  // the next. Of a stride of 2 the odd columns of an image lie half_pitch floats behind the even ones.
  int row_pitch = 0, pair_pitch = 0, half_pitch = 0, image_pitch = 0, channel_pitch = 0;
  int pairs = 1;                        // of rows of the source, from one multiple of pair_pitch to the next: 1 or 2
  int weight_pitch = 0;                 // floats of shared memory from a channel's weights to the next
  int weight_steps = 1;                 // steps whose weights are copied together
  int items = 0, listed = 1;            // entries of the list of copies, channels that they are of
  int copy_period = 0;                  // every so many channels share the look-up of an entry; 0: none do
  int copy_threads = 1, copy_step = 1;  // threads that work off a list together, teams of them
  int half_warp_items = 16;             // entries of a list that each 16 lanes take
  int bias_floats = 0;                  // of the block's filters
  int scratch_bytes = 0;                // of the sink
  bool staged = false;                  // strips leave by way of shared memory: the scratch, or the weights last used
  int lower_rows = 0;                   // floats of the scratch from the upper rows of strips, which leave by rows

  // Floats of a scratch of cells from a row of strips, four of results, to the next, from a filter group to the next:
  // eight neighbouring lanes store their strips without a bank conflict.
  __host__ __device__ int cell_row_pitch() const { return 32 * across + 8 * across % 32; }
  __host__ __device__ int cell_group_pitch() const {
    return images * down * cell_row_pitch() + 8 * (group_threads - positions()) % 32;
  }

  // Of a team, those that make the same filters: one for each strip and, up to a multiple of 8, idle ones.
  int group_threads = 1;

  __host__ __device__ int positions() const { return images * down * across; }
  __host__ __device__ int team_threads() const { return group_threads * filter_groups; }
  // Floats of shared memory from a team's sums to the next one's: in a warp of two teams all lanes have their own
  // banks. `planes`: filters of a thread, times the results of a cell.
  __host__ __device__ int team_pitch(int planes) const {
    return planes * kStripRows * kStripColumns * team_threads() + (team_threads() + 3) / 4 * 4 % 32;
  }
  __host__ __device__ int team_floats(int planes) const { return (teams - 1) * team_pitch(planes); }
};

__host__ __device__ inline int row_offset(const StencilTile& tile, int row, int pairs) {
  return (row >> pairs) * tile.pair_pitch + (row & (2 * pairs - 1)) * tile.row_pitch;
}
__host__ __device__ inline int row_offset(const StencilTile& tile, int row) {
  return row_offset(tile, row, tile.pairs);
}
__host__ __device__ inline int column_offset(const StencilTile& tile, int column, int stride = 1) {
  return stride == 1 ? column : (column & 1) * tile.half_pitch + (column >> 1);
}
// Columns that a strip meets of half a row; of a stride of 1 that is all of it.
__host__ __device__ constexpr int half_columns(int kernel, int stride, int half) {
  return (stride * (kStripColumns - 1) + kernel - half + stride - 1) / stride;
}

struct StencilPlan {
  StencilProblem problem;
  StencilTile tile;
  int filters_per_thread = 0, block_threads = 0;

  // Channels of a step, steps, floats of the two operands' buffers.
  __host__ __device__ int step_channels() const {
    return problem.channels < most_channels() ? problem.channels : most_channels();
  }
  __host__ __device__ int most_channels() const { return stencil_channels(problem.stride); }
  __host__ __device__ int steps() const { return (problem.channels + most_channels() - 1) / most_channels(); }
  __host__ __device__ int source_floats() const { return step_channels() * tile.channel_pitch; }
  __host__ __device__ int weight_floats() const { return step_channels() * tile.weight_pitch; }
  // Buffers of a step's weights, taken in turn.
  __host__ __device__ int weight_buffers() const {
    return steps() <= tile.weight_steps ? steps() : tile.weight_steps + 1;
  }
  // Strips of sums that a thread has.
  __host__ __device__ int sum_planes() const { return filters_per_thread * cell_results(problem.kernel); }
  // Places of a pool's windows in shared memory: of a plane's part, rounded up to whole words; of all.
  __host__ __device__ int place_bytes() const { return (tile.down * (problem.out_width / 2) + 3) / 4 * 4; }
  __host__ __device__ int route_bytes() const {
    return (tile.images * tile.filter_groups * filters_per_thread * place_bytes() + 15) / 16 * 16;
  }

  index_t shared_bytes() const;
  simt::Launch launch(cudaStream_t stream, std::source_location where = std::source_location::current()) const;
};

// What is computed: y, what a pool leaves of it, dx of dy or of what a pool left of it, or dw of either
// (conv2d_stencil_weight.cu, which plans for itself).
enum class StencilUse { forward, pool, input_gradient, pooled_input_gradient, weight_gradient, pooled_weight_gradient };

// What a list of copies has an entry for.
enum class StencilItems { elements, windows };
// Rows of a plane that are so many of them that all are listed.
__host__ __device__ constexpr bool most_of(int rows, int all) { return 4 * rows >= 3 * all; }
// Sets how many channels of the tile a list names, at most so many.
void set_lists(StencilPlan& plan, StencilItems items, int most_listed);
// Then which lanes copy, and which threads work off a list together.
void set_copy_lanes(StencilPlan& plan, StencilItems items);
void set_copy_teams(StencilPlan& plan, StencilItems items, int channels);

// Wavefronts that a block's warps lose when each of their lanes reads four floats of its strip, because two of eight
// that are served together read different words of one bank.
int lost_reads(const StencilPlan& plan);
// Sets the pitch of channels that teams share so that fewest are lost, if as many blocks fit into a multiprocessor.
void part_teams(StencilPlan& plan);

// False for another kernel size, a dilation, a pool of which a block cannot hold whole rows; a stride, save one of 2
// with 3x3 kernels, forward, of weights and, where the padding is odd, of inputs.
bool suits_stencil(const Conv2dShape& shape, StencilUse use);
// Where it suits and beats tiles. Of a stride of 2 modelled, A100 / RTX 4090, against tiles: forward, 64 -> 128, 56 x
// 56, batch 32 297 us instead of 294 / 128 instead of 144, 16 -> 32, 32 x 32, batch 128 28 instead of 37 / 17 instead
// of 19; to a width of 14, of which an eighth of each strip is nobody's, 352 instead of 283 / 130 instead of 160.
// Input gradients of the first 238 instead of 287 / 87 instead of 140; to 28 x 28, 14 cells wide, 263 instead of 211 /
// 137 instead of 103.
// Weight gradients of 1.8e9 multiply-adds 315 to 357 us instead of 389 to 423 / 129 to 141 instead of 194 to 220; of a
// tenth of that, whose blocks leave more sums than they are worth, up to twice as long.
bool pays_stencil(const Conv2dShape& shape, StencilUse use);
StencilPlan stencil_plan(const Conv2dShape& shape, StencilUse use);

// The products by stencil: what conv2d.h and conv2d_pool.h say of them, weight gradients up to the sum of their parts,
// which input gradients take along.
void conv2d_forward_stencil(const Conv2dShape& shape, const float* x, const float* w, const float* bias, float* y,
                            float slope, cudaStream_t stream);
void conv2d_pool_forward_stencil(const Conv2dShape& shape, const float* x, const float* w, const float* bias, float* y,
                                 std::uint8_t* route, float slope, cudaStream_t stream);
void conv2d_backward_input_stencil(const Conv2dShape& shape, const float* dy, const float* w, float* dx,
                                   const WeightParts& parts, cudaStream_t stream);
// Of a stride of 2, which conv2d_backward_input_stencil() leaves to it: a file of its own, since it compiles long.
void conv2d_backward_input_cells(const Conv2dShape& shape, const float* dy, const float* w, float* dx,
                                 const WeightParts& parts, cudaStream_t stream);
void conv2d_pool_backward_input_stencil(const Conv2dShape& shape, const PooledGradient& dy, const float* w, float* dx,
                                        const WeightParts& parts, cudaStream_t stream);

WeightParts conv2d_backward_weight_stencil(const Conv2dShape& shape, const float* x, const float* dy, float* dw,
                                           float* db, Workspace workspace, cudaStream_t stream);
WeightParts conv2d_pool_backward_weight_stencil(const Conv2dShape& shape, const float* x, const PooledGradient& dy,
                                                float* dw, float* db, Workspace workspace, cudaStream_t stream);
index_t conv2d_backward_weight_stencil_workspace(const Conv2dShape& shape);

}  // namespace espalier::kernels
