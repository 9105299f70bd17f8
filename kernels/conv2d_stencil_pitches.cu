// Bank conflicts of a stencil's reads (conv2d_stencil.h), counted from the geometry. Eight neighbouring lanes read 128
// bits each at a time; where a team is no multiple of eight threads some of them read one channel, some the next, and
// the distance of channels decides, too, whether they meet.
#include <algorithm>
#include <array>

#include "kernels/conv2d_stencil.h"

namespace espalier::kernels {
namespace {

// Of four floats each; gaps are multiples of that, and longer ones than all banks lead to the same.
constexpr int kBanks = 8, kBankFloats = 4;

// Blocks of so many bytes that the multiprocessors of each generation hold, of which all reserve 1 KB a block.
std::array<index_t, 4> resident_blocks(index_t shared_bytes) {
  std::array<index_t, 4> blocks{64, 100, 164, 228};
  for (index_t& count : blocks) count = count * 1024 / (shared_bytes + 1024);
  return blocks;
}

}  // namespace

int lost_reads(const StencilPlan& plan) {
  const StencilTile& tile = plan.tile;
  const int last = tile.positions() - 1, across = tile.across, strips = tile.down * across;
  int lost = 0;
  for (int first = 0; first < tile.teams * tile.team_threads(); first += kBanks) {
    int words[kBanks] = {}, lanes[kBanks] = {}, most = 1;
    for (int i = 0; i < kBanks; ++i) {
      const int thread = first + i, team = thread / tile.team_threads();
      const int position = std::min(thread % tile.group_threads, last), strip = position % strips;
      words[i] = position / strips * tile.image_pitch + strip / across * tile.pair_pitch +
                 strip % across * kStripColumns + team * tile.channel_pitch;
      if (team >= tile.teams || std::find(words, words + i, words[i]) != words + i) continue;
      most = std::max(most, ++lanes[words[i] / kBankFloats % kBanks]);
    }
    lost += most - 1;
  }
  return lost;
}

void part_teams(StencilPlan& plan) {
  int& pitch = plan.tile.channel_pitch;
  const int shortest = pitch;
  const auto blocks = resident_blocks(plan.shared_bytes());
  int best = shortest, fewest = plan.tile.teams > 1 ? lost_reads(plan) : 0;
  for (int gap = 1; fewest > 0 && gap < kBanks; ++gap) {
    pitch = shortest + gap * kBankFloats;
    const int lost = lost_reads(plan);
    if (lost < fewest && resident_blocks(plan.shared_bytes()) == blocks) fewest = lost, best = pitch;
  }
  pitch = best;
}

}  // namespace espalier::kernels
