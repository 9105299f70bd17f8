#include "core/device/memory.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include "core/tensor/tensor.h"

namespace espalier {
namespace {

TEST_CASE("memory pool: a freed block is handed out again without asking the device") {
  MemoryPool pool;
  void* first = nullptr;
  {
    const auto block = pool.allocate(1000);
    first = block.get();
    CHECK(reinterpret_cast<std::uintptr_t>(first) % 256 == 0);
    CHECK(pool.statistics().used_bytes == 1024);
  }
  CHECK(pool.statistics().used_bytes == 0);
  const auto again = pool.allocate(700);
  CHECK(again.get() == first);
  CHECK(pool.statistics().device_allocations == 1);
  CHECK(pool.statistics().peak_used_bytes == 1024);
}

TEST_CASE("memory pool: at most an eighth is lost to rounding") {
  MemoryPool pool;
  for (const std::size_t bytes : {std::size_t(1) << 20, (std::size_t(1) << 20) + 1, std::size_t(5) << 20}) {
    const auto before = pool.statistics().used_bytes;
    const auto block = pool.allocate(bytes);
    const auto taken = std::size_t(pool.statistics().used_bytes - before);
    CHECK(taken >= bytes);
    CHECK(taken <= bytes + bytes / 8 + 512);
  }
}

TEST_CASE("memory pool: live blocks never overlap") {
  MemoryPool pool;
  std::vector<std::shared_ptr<void>> blocks;
  std::vector<std::pair<std::uintptr_t, std::uintptr_t>> ranges;
  for (const std::size_t bytes : {1, 511, 512, 513, 4096, 100000, 1}) {
    blocks.push_back(pool.allocate(bytes));
    const auto begin = reinterpret_cast<std::uintptr_t>(blocks.back().get());
    for (const auto& [low, high] : ranges) CHECK((begin + bytes <= low || begin >= high));
    ranges.emplace_back(begin, begin + bytes);
  }
}

TEST_CASE("memory pool: a tensor may outlive the pool it was born in") {
  Tensor survivor;
  {
    MemoryPool pool;
    const PoolScope scope(pool);
    survivor = Tensor::full({3}, 4.0f);
  }
  CHECK(survivor.to_host() == std::vector<float>(3, 4.0f));
}

TEST_CASE("memory pool: unused blocks go back to the device on request") {
  MemoryPool pool;
  const auto kept = pool.allocate(2048);
  pool.allocate(1 << 16).reset();
  pool.release_unused();
  CHECK(pool.statistics().reserved_bytes == 2048);
}

}  // namespace
}  // namespace espalier
