// How the blocks of Winograd's transforms hold the planes of images in shared memory. A block has some lines of tiles,
// which may be those of several images, of one plane; or, of small maps, whole images of several planes that follow
// each other in memory, as many as make whole sectors. What a block has of an image is copied in runs of 16 bytes that
// begin with sectors, in the order of memory; tiles are read and written where they lie:
//   kVector 4   rows of whole chunks, padding 1: four columns of a tile are one access. Lines are `line` floats apart,
//               width modulo 32: eight lanes with neighbouring tiles meet all banks, across lines too. The rows that a
//               source's tiles have beyond theirs lie in the lines before and after.
//   kVector 2   even width, padding 1: as in memory. Lanes take the halves of their four columns in an order of theirs,
//   kVector 1   any width and padding: so do they with single columns: those whose tiles begin in the same four banks
//               take turns, so that up to four of them meet no bank twice; images are as far apart as makes them few.
#pragma once
#include "kernels/conv2d_winograd_steps.h"

namespace espalier::kernels {

inline constexpr int kStripThreads = 256;

// One side, source or result, of a chunk in planes of memory, and how blocks cut it.
struct WinogradStrips {
  int height = 1, width = 1, all_planes = 1;
  int shift = 0;  // rows and columns that tiles begin before the plane
  int halo = 0;   // rows that a line shares with the next: two of a source
  int down = 1, across = 1;
  index_t all_lines = 1;
  int vector = 1;             // kVector
  int lines = 1, planes = 1;  // of a block
  int line = 0, gap = 0;      // floats from line to line, and what is added from image to image
  int before = 0;             // floats ahead of the first line
  int floats = 0;             // of shared memory

  __host__ __device__ index_t image() const { return index_t(all_planes) * height * width; }
};

WinogradStrips source_strips(const WinogradChunk& chunk, const float* x);
WinogradStrips result_strips(const WinogradChunk& chunk, const float* y);

// Where a tile of a block is.
struct StripTile {
  int plane, tile;  // of the block
  bool exists;
  int block_line, line, across, image;  // its line in the block and in the image, the image counted in the block
};

// A run of memory, from the block's first plane on, and of shared memory.
struct StripRun {
  index_t memory;
  int shared, floats;
};

template <int kVector>
struct StripBlock {
  const WinogradStrips& strips;
  index_t first_line, image;  // the first of each
  int first, lines, plane, planes, misaligned;

  __device__ StripBlock(const WinogradStrips& strips, const float* data)
      : strips(strips),
        first_line(index_t(blockIdx.x) * strips.lines),
        image(first_line / strips.down),
        first(int(first_line - image * strips.down)),
        lines(int(least(strips.lines, strips.all_lines - first_line))),
        plane(int(blockIdx.y) * strips.planes),
        planes(int(least(strips.planes, strips.all_planes - plane))),
        misaligned(int(reinterpret_cast<std::uintptr_t>(data + origin()) / sizeof(float) % 4)) {}

  __device__ index_t origin() const { return image * strips.image() + index_t(plane) * strips.height * strips.width; }
  __device__ int tiles() const { return lines * strips.across; }
  __device__ bool is_last() const { return first_line + lines == strips.all_lines; }

  // Tile i of planes that have `end` places for them each.
  __device__ StripTile tile(int i, int end) const {
    StripTile t{};
    const auto divided = [](int a, int b) { return int(unsigned(a) / unsigned(b)); };
    t.plane = strips.planes == 1 ? i >= end : divided(i, end);
    t.tile = i - t.plane * end;
    t.exists = t.plane < planes && t.tile < tiles();
    t.block_line = divided(t.tile, strips.across), t.across = t.tile - t.block_line * strips.across;
    t.image = divided(first + t.block_line, strips.down);
    t.line = first + t.block_line - t.image * strips.down;
    return t;
  }
  // Where the topmost row of a tile, with kVector 4 the first of its line, begins in shared memory.
  __device__ int start(int block_line, int image) const {
    const int at = strips.before + block_line * strips.line + image * strips.gap;
    if constexpr (kVector == 4) return at;
    return at + ((misaligned + image * int(strips.image() % 4) - strips.shift * strips.width) & 3);
  }
  // Where its first row begins that the plane's first tile across would have.
  __device__ int start(const StripTile& t) const {
    return start(t.block_line, t.image) + t.plane * strips.height * strips.width;
  }
  // The order in which a lane takes the columns of its tile: number i is column i XOR turn, counted in vectors. All
  // lanes of a warp together.
  __device__ int turn(const StripTile& t) const {
    if constexpr (kVector == 4) return 0;
    if constexpr (kVector == 2) return strips.planes == 1 ? int(threadIdx.x) / 8 % 2 : t.line % 2;
    const int four = start(t) / 4 + t.across;
    unsigned before = (1u << threadIdx.x % 32) - 1;  // lanes with the same four banks
#pragma unroll
    for (int bit = 0; bit < 3; ++bit) {
      const bool set = four >> bit & 1;
      const unsigned with = __ballot_sync(0xFFFFFFFFu, set);
      before &= set ? with : ~with;
    }
    return __popc(before) % 4;
  }

  __device__ int images() const { return int(unsigned(first + lines - 1) / unsigned(strips.down)) + 1; }
  // The lines of an image that the block has, its first and how many lines the block has before.
  __device__ int line_of(int image) const { return image == 0 ? first : 0; }
  __device__ int lines_before(int image) const { return image == 0 ? 0 : image * strips.down - first; }
  __device__ int lines_of(int image) const { return least(strips.down - line_of(image), lines - lines_before(image)); }

  // What the block has of an image.
  __device__ StripRun image_run(int image) const {
    const int top = line_of(image) * kWinogradOutputs - strips.shift;
    const int rows = lines_of(image) * kWinogradOutputs + strips.halo;
    const int begin = top > 0 ? top : 0, end = least(top + rows, strips.height);
    return {image * strips.image() + index_t(begin) * strips.width,
            start(lines_before(image), image) + (begin - top) * strips.width,
            ((planes - 1) * strips.height + end - begin) * strips.width};
  }
  // With kVector 4: a line of those, counted from 0; before and after them are single rows.
  __device__ StripRun line_run(int image, int line) const {
    const int row = (line_of(image) + line) * kWinogradOutputs;
    const int begin = line < 0 ? row + kWinogradOutputs - 1 : row;
    const int end = least(line == lines_of(image) ? row + 1 : row + kWinogradOutputs, strips.height);
    return {image * strips.image() + index_t(begin) * strips.width,
            start(lines_before(image) + line, image) + (begin - row) * strips.width,
            begin < 0 ? 0 : (end - begin) * strips.width};
  }

 private:
  template <class T>
  __device__ static int least(int a, T b) {
    return a < b ? a : int(b);
  }
};

// visit(memory, shared, count): a run in pieces of up to four floats, neighbouring lanes neighbouring ones. Four are 16
// bytes aligned on both sides. The warp takes the 32 chunks number `piece` and every `step` further.
template <int kVector, class T, class Visit>
__device__ inline void for_each_chunk(const StripRun& run, T* data, float* shared, int piece, int step,
                                      const Visit& visit) {
  data += run.memory, shared += run.shared;
  const int in_sector = int(reinterpret_cast<std::uintptr_t>(data) / sizeof(float) % 8);
  const int first = piece * 128 + int(threadIdx.x) % 32 * 4 - in_sector;
  for (int at = first; at < run.floats; at += step * 128) {
    if (at >= 0 && at + 4 <= run.floats) {
      visit(data + at, shared + at, std::integral_constant<int, 4>());
    } else if (kVector < 4) {
#pragma unroll
      for (int i = at; i < at + 4; ++i) {
        if (unsigned(i) < unsigned(run.floats)) visit(data + i, shared + i, std::integral_constant<int, 1>());
      }
    }
  }
}

// The same for all that the block has: a warp takes lines or, of rows that are no whole chunks, images or parts of one.
template <int kVector, class T, class Visit>
__device__ inline void for_each_chunk(const StripBlock<kVector>& block, T* data, float* shared, const Visit& visit) {
  const int warps = int(blockDim.x) / 32, warp = int(threadIdx.x) / 32, images = block.images();
  if constexpr (kVector == 4) {
    int line = warp;
    for (int image = 0; image < images; ++image) {
      const int lines = block.lines_of(image) + block.strips.halo, before = block.strips.halo / 2;
      for (; line < lines; line += warps) {
        for_each_chunk<4>(block.line_run(image, line - before), data, shared, 0, 1, visit);
      }
      line -= lines;
    }
  } else {
    const int team = images < warps ? int(unsigned(warps) / unsigned(images)) : 1,
              teams = images < warps ? images : warps;
    if (warp >= team * teams) return;
    for (int image = warp / team; image < images; image += teams) {
      for_each_chunk<kVector>(block.image_run(image), data, shared, warp % team, team, visit);
    }
  }
}

// Columns taken in a lane's order to their places, and the other way round.
template <int kVector>
__device__ inline void unturn(float (&columns)[kWinogradOutputs], int turn) {
  const auto swap_if = [&](bool wanted, int i, int j) {
    const float a = columns[i], b = columns[j];
    columns[i] = wanted ? b : a, columns[j] = wanted ? a : b;
  };
  if constexpr (kVector == 1) swap_if(turn & 1, 0, 1), swap_if(turn & 1, 2, 3);
  const bool halves = turn & (kVector == 1 ? 2 : 1);
  if constexpr (kVector < 4) swap_if(halves, 0, 2), swap_if(halves, 1, 3);
}

simt::Launch strips_launch(const WinogradStrips& strips, cudaStream_t stream,
                           std::source_location where = std::source_location::current());

}  // namespace espalier::kernels
