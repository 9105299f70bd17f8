// The orders in which threads of a block and blocks of a grid may run: ESPALIER_THREAD_ORDER = forward, reverse or
// shuffled (by ESPALIER_SEED, different in every block). A kernel that synchronises rightly cannot tell them apart.
#pragma once
#include <cstdint>
#include <span>

namespace espalier::simt::detail {

// A whole number from the environment; std::invalid_argument when the text is none.
std::uint64_t environment_number(const char* name, std::uint64_t otherwise);

bool order_is_forward();
bool order_differs_by_block();
void order_threads(std::span<std::uint16_t> order, std::uint64_t block);  // order[k] = the thread that runs k-th
std::uint64_t order_block(std::uint64_t k, std::uint64_t count);          // the block that runs k-th of `count`

}  // namespace espalier::simt::detail
