#include "kernels/simt/emulated_async_copy.h"

#include <array>
#include <cstdint>
#include <cstring>
#include <deque>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/simt/block.h"
#include "kernels/simt/shared_memory.h"

namespace espalier::simt::detail {
namespace {

struct Copy {
  void* to;
  const void* from;
  int size, bytes;
};

struct Queue {
  std::deque<std::vector<Copy>> groups;  // closed, oldest first
  std::vector<Copy> open;
};

struct Queues {
  std::array<Queue, kMaxThreads> of_thread;
  std::vector<unsigned> used;  // threads whose queue holds something, some of them twice
};

thread_local Queues queues;

Queue& own_queue() {
  Queue& queue = queues.of_thread[here.current->thread];
  if (queue.open.empty() && queue.groups.empty()) queues.used.push_back(here.current->thread);
  here.copying = true;
  return queue;
}

void land(const Copy& copy) {
  if (copy.bytes > 0) std::memcpy(copy.to, copy.from, std::size_t(copy.bytes));  // from may be null for none
  std::memset(static_cast<char*>(copy.to) + copy.bytes, 0, std::size_t(copy.size - copy.bytes));
}

}  // namespace

void start_copy(void* shared, const void* global, int size, int bytes) {
  const auto misses = [&](const void* address) { return reinterpret_cast<std::uintptr_t>(address) % unsigned(size); };
  if (misses(shared) != 0 || (bytes > 0 && misses(global) != 0)) {
    throw std::runtime_error("asynchronous copy of " + std::to_string(size) + " bytes: an address is no multiple of " +
                             std::to_string(size) + "; copy fewer bytes at a time");
  }
  if (bytes < 0 || bytes > size) {
    throw std::runtime_error("asynchronous copy of " + std::to_string(size) + " bytes is asked to read " +
                             std::to_string(bytes) + "; give 0 to " + std::to_string(size));
  }
  Queue& queue = own_queue();
  std::memset(shared, kPoison, std::size_t(size));
  queue.open.push_back({shared, global, size, bytes});
}

void close_copy_group() {
  Queue& queue = own_queue();
  queue.groups.push_back(std::move(queue.open));
  queue.open.clear();
}

void finish_copy_groups(int pending) {
  Queue& queue = own_queue();
  for (; queue.groups.size() > std::size_t(pending); queue.groups.pop_front()) {
    for (const Copy& copy : queue.groups.front()) land(copy);
  }
}

void forget_copies() {
  for (const unsigned thread : queues.used) {
    queues.of_thread[thread].groups.clear();
    queues.of_thread[thread].open.clear();
  }
  queues.used.clear();
}

}  // namespace espalier::simt::detail
