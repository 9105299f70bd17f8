// What async_copy.h is under g++: each thread of the block has a queue of the copies that it has started.
#pragma once

namespace espalier::simt::detail {

// Throws where a GPU would fault: a misaligned address, more bytes than the copy has.
void start_copy(void* shared, const void* global, int size, int bytes);
void close_copy_group();
void finish_copy_groups(int pending);  // all but the newest `pending` groups of the calling thread

// A new block starts: what its predecessor left in flight will never land.
void forget_copies();

}  // namespace espalier::simt::detail
