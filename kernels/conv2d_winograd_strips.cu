// How many lines and planes of a map a block of Winograd's transforms takes, and how they lie in its shared memory.
#include "kernels/conv2d_winograd_strips.h"

#include <algorithm>
#include <climits>
#include <numeric>

#include "kernels/grid.h"
#include "kernels/require.h"

namespace espalier::kernels {
namespace {

// Tiles of a block where there are so many: whole warps of 56 and 28 pixels across, whole sectors of v and m.
constexpr int kLineTiles = 192, kImageTiles = 256, kMostImageTiles = 32;
constexpr int kMostFloats = 12 * 1024;  // 48 KB

int rounded_to(int floats, int rest, int modulus) { return floats + ((rest - floats) % modulus + modulus) % modulus; }

// Lines that make whole sectors of v and m, where that does not take too many tiles.
int lines_of_block(int across) {
  const int unit = 8 / std::gcd(8, across);
  if (unit * across > kStripThreads) return std::max(1, kLineTiles / across);
  return unit * ceil_div(kLineTiles, unit * across);
}

// Wavefronts of a plane's tiles, of kVector 1, a column of each at a time.
int wavefronts(const WinogradStrips& s) {
  const int tiles = s.lines * s.across;
  int count = 0;
  for (int first = 0; first < tiles; first += 32) {
    int taken[8] = {};  // of the banks, in fours
    for (int tile = first; tile < std::min(first + 32, tiles); ++tile) {
      const int line = tile / s.across, place = line * s.line + line / s.down * s.gap;
      ++taken[(place / kWinogradOutputs + tile % s.across) % 8];
    }
    count += ceil_div(*std::max_element(std::begin(taken), std::end(taken)), 4);
  }
  return count;
}

// Images so far apart, modulo all banks, that lanes with tiles of several ones make the fewest wavefronts.
void space_images(WinogradStrips& s, int least_gap) {
  const int image = s.down * s.line, ideal = ceil_div(s.lines * s.across, 32);
  int fewest = INT_MAX, best = 0;
  for (const int rest : {8, 16, 4, 12, 20, 24, 28, 0}) {
    s.gap = rounded_to(image + least_gap, rest, 32) - image;
    if (const int count = wavefronts(s); count < fewest) fewest = count, best = s.gap;
    if (s.vector == 2 || fewest == ideal) break;
  }
  s.gap = best;
}

void lay_out(WinogradStrips& s) {
  const int plane = s.height * s.width, rows = kWinogradOutputs * s.width, halo = s.halo * s.width;
  const int images = s.planes > 1 ? s.lines / s.down : (s.lines + s.down - 2) / s.down + 1;
  if (s.vector == 4) {
    s.line = rounded_to(rows, s.width, 32), s.gap = s.halo > 0 ? rounded_to(halo + s.line - rows, 0, 32) : 0;
    s.before = halo > 0 ? s.line - rows + s.width : 0;
    s.floats = s.before + s.lines * s.line + (images - 1) * s.gap + halo;
  } else {
    s.line = rows;
    const int whole = s.planes * plane + (s.image() % 4 > 0 ? 3 : 0);
    if (s.planes > 1) {
      space_images(s, whole - s.down * rows);
    } else {
      s.gap = rounded_to(halo + 3, 0, 4);
    }
    s.floats = (images - 1) * (s.planes > 1 ? s.down * rows + s.gap : s.gap) + 4 + std::max(0, s.shift) * s.width;
    s.floats += s.planes > 1 ? s.planes * plane : s.lines * rows + halo;
  }
}

WinogradStrips strips_of(const WinogradChunk& chunk, WinogradStrips s, const float* data) {
  s.down = chunk.down, s.across = chunk.across, s.all_lines = chunk.lines();
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  const bool as_padded = s.halo == 0 || s.shift == 1;
  s.vector = as_padded && s.width % 4 == 0 && address % 16 == 0  ? 4
             : as_padded && s.width % 2 == 0 && address % 8 == 0 ? 2
                                                                 : 1;
  const int plane = s.height * s.width, tiles = s.down * s.across, planes = 8 / std::gcd(8, plane);
  if (s.vector < 4 && tiles <= kMostImageTiles && planes > 1 && planes * plane <= kMostFloats / 2) {
    const int images = 8 / std::gcd(8, tiles);
    s.planes = planes, s.lines = s.down * images * std::max(1, kImageTiles / (planes * images * tiles));
    lay_out(s);
    if (s.floats <= kMostFloats) return s;
  }
  s.planes = 1, s.lines = lines_of_block(s.across);
  for (lay_out(s); s.floats > kMostFloats && s.lines > 1; lay_out(s)) s.lines = ceil_div(s.lines, 2);
  return s;
}

}  // namespace

WinogradStrips source_strips(const WinogradChunk& chunk, const float* x) {
  return strips_of(chunk,
                   {.height = chunk.height,
                    .width = chunk.width,
                    .all_planes = chunk.channels,
                    .shift = chunk.padding,
                    .halo = kWinogradInputs - kWinogradOutputs},
                   x);
}

WinogradStrips result_strips(const WinogradChunk& chunk, const float* y) {
  return strips_of(chunk, {.height = chunk.out_height, .width = chunk.out_width, .all_planes = chunk.filters}, y);
}

simt::Launch strips_launch(const WinogradStrips& s, cudaStream_t stream, std::source_location where) {
  const index_t blocks = ceil_div<index_t>(s.all_lines, s.lines), groups = ceil_div(s.all_planes, s.planes);
  require(blocks <= kMaxGridX && groups <= kMaxGridYZ, "conv2d: ", blocks, " blocks x ", groups,
          " groups of planes are more than a grid has; split the channels");
  const int threads = std::min(kStripThreads, ceil_div(s.lines * s.planes * s.across, 32) * 32);
  return {dim3(unsigned(blocks), unsigned(groups)), dim3(unsigned(threads)), std::size_t(s.floats) * sizeof(float),
          stream, where};
}

}  // namespace espalier::kernels
