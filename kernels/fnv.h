// FNV-1a (Fowler, Noll and Vo): a hash of bytes that is the same on every machine, unlike std::hash. Host code.
#pragma once
#include <cstdint>
#include <string_view>

namespace espalier::kernels {

struct Fnv1a {
  std::uint64_t value = 0xCBF29CE484222325u;
  constexpr void add(unsigned char byte) { value = (value ^ byte) * 0x100000001B3u; }
};

constexpr std::uint64_t fnv1a(std::string_view text) {
  Fnv1a hash;
  for (const char letter : text) hash.add(static_cast<unsigned char>(letter));
  return hash.value;
}

}  // namespace espalier::kernels
