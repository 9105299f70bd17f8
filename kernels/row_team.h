// Who owns a row: one thread that runs along it, or 8, 32 or 256 threads that meet in shuffles (warp.h). Every choice
// exists in both builds and computes the same sums; automatic takes the one that suits row length and build.
#pragma once

namespace espalier::kernels {

enum class RowTeam { automatic, thread, octet, warp, block };

}  // namespace espalier::kernels
