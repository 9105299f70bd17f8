// Shuffled threads: Fisher-Yates by a SplitMix64 generator keyed by (seed, block). Shuffled blocks: an affine map with
// a stride coprime to the count, so that no table of blocks is needed.
#include "kernels/simt/order.h"

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

namespace espalier::simt::detail {
namespace {

enum class Order { forward, reverse, shuffled };

Order read_order() {
  const char* text = std::getenv("ESPALIER_THREAD_ORDER");
  const std::string order = text == nullptr ? "forward" : text;
  if (order == "forward" || order.empty()) return Order::forward;
  if (order == "reverse") return Order::reverse;
  if (order == "shuffled") return Order::shuffled;
  throw std::invalid_argument("ESPALIER_THREAD_ORDER is '" + order + "'; use forward, reverse or shuffled");
}

// Read at the first launch, so that a wrong value is an error of that launch.
Order order_kind() {
  static const Order order = read_order();
  return order;
}

std::uint64_t order_seed() {
  static const std::uint64_t seed = environment_number("ESPALIER_SEED", 1);
  return seed;
}

std::uint64_t mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

}  // namespace

std::uint64_t environment_number(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  if (text == nullptr || *text == '\0') return otherwise;
  std::uint64_t value = 0;
  const char* end = text + std::strlen(text);
  const auto [rest, error] = std::from_chars(text, end, value);
  if (error != std::errc{} || rest != end) {
    throw std::invalid_argument(std::string(name) + " is '" + text + "'; use a whole number");
  }
  return value;
}

bool order_is_forward() { return order_kind() == Order::forward; }
bool order_differs_by_block() { return order_kind() == Order::shuffled; }

void order_threads(std::span<std::uint16_t> order, std::uint64_t block) {
  std::iota(order.begin(), order.end(), std::uint16_t{0});
  if (order_kind() == Order::reverse) {
    for (std::size_t k = 0; k < order.size(); ++k) order[k] = std::uint16_t(order.size() - 1 - k);
  } else if (order_kind() == Order::shuffled) {
    std::uint64_t state = mix(order_seed() ^ mix(block));
    for (std::size_t left = order.size(); left > 1; --left) {
      state = mix(state);
      std::swap(order[left - 1], order[state % left]);
    }
  }
}

std::uint64_t order_block(std::uint64_t k, std::uint64_t count) {
  if (order_kind() == Order::forward) return k;
  if (order_kind() == Order::reverse) return count - 1 - k;
  std::uint64_t stride = mix(order_seed()) % count | 1;
  while (std::gcd(stride, count) != 1) stride += 2;
  return std::uint64_t((static_cast<unsigned __int128>(stride) * k + mix(order_seed() + 1)) % count);
}

}  // namespace espalier::simt::detail
