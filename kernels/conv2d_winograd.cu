// Which convolutions conv2d_winograd.h takes, the chunks of their batch, and the four steps of each.
#include "kernels/conv2d_winograd.h"

#include <algorithm>
#include <utility>

#include "kernels/conv2d_winograd_steps.h"
#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/scratch.h"

namespace espalier::kernels {
namespace {

// v and m of a chunk, 40 MB. Modelled us of 64 channels and filters at 56 x 56, batch 128, in chunks of 16, 24, 40 MB
// and all at once: A100 1118, 1001, 937, 817; H100 723, 583, 527, 470; RTX 4090, whose second-level cache is worth more
// to it than the launches, 588, 533, 478, 1387. A chunk of 48 MB gains 4 % more and leaves that cache no slack.
constexpr index_t kChunkFloats = 10 << 20;
constexpr index_t kLeastChannels = 64;
constexpr int kMostTilesAcross = 384;  // of which a block's shared memory holds a line

index_t images_of_chunk(const WinogradProblem& p) {
  const index_t image = kWinogradPlanes * (p.channels + p.filters) * p.tiles();
  const index_t most = std::clamp<index_t>(kChunkFloats / image, 1, p.batch);
  return ceil_div(p.batch, ceil_div(p.batch, most));
}

// The model behind is_worth_it(): multiply-adds of 132 multiprocessors at the share of their peak that the calibrated
// counter model gives stencil and product, bytes past the first-level caches, and what a launch costs in itself.
constexpr double kSumsAClock = 132 * 128, kStencilShare = 0.72, kProductShare = 0.75, kBytesAClock = 2000,
                 kLaunchClocks = 2500;

double stencil_clocks(const WinogradProblem& p) {
  const double sums = 9.0 * double(p.channels * p.filters * p.batch) * p.out_height * p.out_width;
  return sums / (kSumsAClock * kStencilShare) + kLaunchClocks;
}

double winograd_clocks(const WinogradProblem& p) {
  constexpr index_t kRows = 64, kColumns = 128;  // of the smaller of the product's tiles
  const index_t images = images_of_chunk(p), chunks = ceil_div(p.batch, images), tiles = p.batch * p.tiles();
  const index_t columns = chunks * ceil_div(images * p.tiles(), kColumns) * kColumns;
  const double sums = double(kWinogradPlanes * p.channels * ceil_div(p.filters, kRows) * kRows * columns);
  const index_t weights = (9 + 2 * kWinogradPlanes) * p.channels * p.filters;
  const index_t planes = p.channels * p.height * p.width + p.filters * p.out_height * p.out_width;
  const double bytes =
      4.0 * double(weights + p.batch * planes + 2 * kWinogradPlanes * tiles * (p.channels + p.filters));
  return sums / (kSumsAClock * kProductShare) + bytes / kBytesAClock + kLaunchClocks * double(1 + 3 * chunks);
}

// Few images do not pay for the transformed weights, nor for four launches. A function of the shape alone, so that all
// GPUs give the same bits; where it errs by the full model, an A100 or a T4 would have won a little.
bool is_worth_it(const WinogradProblem& p) { return winograd_clocks(p) < stencil_clocks(p); }

struct Buffers {
  index_t images;
  float *u, *v, *m;
  index_t floats;

  Buffers(const WinogradProblem& p, Workspace workspace) : images(images_of_chunk(p)) {
    Scratch scratch(workspace);
    const index_t pitch = winograd_pitch(images * p.tiles());
    u = scratch.take<float>(kWinogradPlanes * p.channels * winograd_pitch(p.filters));
    v = scratch.take<float>(kWinogradPlanes * p.channels * pitch);
    m = scratch.take<float>(kWinogradPlanes * p.filters * pitch);
    floats = scratch.used();
  }
};

}  // namespace

WinogradProblem::WinogradProblem(const Conv2dShape& s, WinogradUse use)
    : use(use),
      batch(s.batch),
      channels(s.channels),
      filters(s.filters),
      height(int(s.height)),
      width(int(s.width)),
      out_height(int(s.out_height())),
      out_width(int(s.out_width())),
      padding(int(s.padding)) {
  if (use == WinogradUse::forward) return;
  std::swap(channels, filters);
  std::swap(height, out_height), std::swap(width, out_width);
  padding = 2 - padding;
}

WinogradChunk::WinogradChunk(const WinogradProblem& p, index_t images)
    : height(p.height),
      width(p.width),
      out_height(p.out_height),
      out_width(p.out_width),
      padding(p.padding),
      down(p.down()),
      across(p.across()),
      channels(int(p.channels)),
      filters(int(p.filters)),
      images(images),
      pitch(winograd_pitch(images * p.tiles())) {}

bool suits_winograd(const Conv2dShape& s) {
  const auto fits = [](index_t width) { return width <= kMostTilesAcross * kWinogradOutputs; };
  return s.kernel_height == 3 && s.kernel_width == 3 && s.stride == 1 && s.dilation == 1 && s.groups == 1 &&
         fits(s.width) && fits(s.out_width());
}

bool takes_winograd(const Conv2dShape& s, WinogradUse use, Conv2dMethod method) {
  if (method == Conv2dMethod::winograd) {
    require(suits_winograd(s), "conv2d: winograd takes 3x3 kernels, stride 1, dilation 1 and one group; this one is ",
            s.kernel_height, " x ", s.kernel_width, ", stride ", s.stride, ", dilation ", s.dilation, ", ", s.groups,
            " groups on a width of ", s.width, "; use fastest");
    return true;
  }
  return method == Conv2dMethod::fastest && !simt::kEmulated && suits_winograd(s) && s.channels >= kLeastChannels &&
         s.filters >= kLeastChannels && is_worth_it({s, use});
}

index_t winograd_workspace(const Conv2dShape& shape, WinogradUse use, Conv2dMethod method) {
  return takes_winograd(shape, use, method) ? Buffers(WinogradProblem(shape, use), {}).floats : 0;
}

bool runs_winograd(const Conv2dShape& shape, WinogradUse use, Conv2dMethod method, const Workspace& workspace) {
  const index_t wanted = winograd_workspace(shape, use, method);
  if (wanted == 0) return false;
  const bool enough = workspace.data != nullptr && workspace.floats >= wanted;
  require(enough || method == Conv2dMethod::fastest, "conv2d: winograd wants a workspace of ", wanted, " floats; got ",
          workspace.data == nullptr ? index_t(0) : workspace.floats);
  return enough;
}

void conv2d_winograd(const WinogradProblem& p, const float* x, const float* w, const float* bias, float* y, float slope,
                     Workspace workspace, cudaStream_t stream) {
  const Buffers buffers(p, workspace);
  winograd_weights(p, w, buffers.u, stream);
  for (index_t first = 0; first < p.batch; first += buffers.images) {
    const WinogradChunk chunk(p, std::min(buffers.images, p.batch - first));
    winograd_source(chunk, x + first * p.channels * p.height * p.width, buffers.v, stream);
    winograd_product(chunk, buffers.u, buffers.v, buffers.m, stream);
    winograd_result(chunk, buffers.m, bias, slope, y + first * p.filters * p.out_height * p.out_width, stream);
  }
}

}  // namespace espalier::kernels
