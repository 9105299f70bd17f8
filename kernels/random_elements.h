// The loop over elements that each want a random number of their own, as random.h places the words: element i takes
// word (i / 32) % 4 at position (i / 128) * 32 + i % 32. For kernels that draw and use the numbers in one pass: then
// they cost no memory at all, about 25 integer instructions for four of them. Device code: for .cu files only.
#pragma once
#include <cstdint>

#include "kernels/grid.h"
#include "kernels/philox.h"

namespace espalier::kernels {

constexpr index_t kRandomLanes = 32;                // a warp's width; two AVX-512 registers
constexpr index_t kRandomChunk = 4 * kRandomLanes;  // elements that share kRandomLanes positions
// A "thread" of the CPU takes all lanes of a chunk, so that Philox itself becomes vector code. Nanoseconds an element
// on one Zen 5 core, one lane -> all: uniform 2.0 -> 0.6, normal 13 -> 0.9, dropout forward 6.9 -> 0.8.
constexpr index_t kRandomLanesPerUnit = simt::kContiguousElements ? kRandomLanes : 1;

inline index_t random_units(index_t count) {
  return ceil_div(count, kRandomChunk) * (kRandomLanes / kRandomLanesPerUnit);
}

template <class Value>
struct Four {
  Value value[4];
};

// place(i, value) for every i < count, where draw(words) makes the values of four elements from four words. To be
// launched over random_units(count).
template <class Draw, class Place>
__device__ inline void for_each_random(index_t units, index_t count, RandomStream random, Draw draw, Place place) {
  for_each_element(units, [&](index_t unit) {
    const index_t position = unit * kRandomLanesPerUnit,
                  first = position / kRandomLanes * kRandomChunk + position % kRandomLanes;
    const bool whole = first + kRandomLanesPerUnit + 3 * kRandomLanes <= count;
    if (whole) {  // no test per element, and the draws land in registers before memory that may alias is touched
      decltype(draw(PhiloxWords()).value[0] + 0) values[4][kRandomLanesPerUnit];
      for (index_t lane = 0; lane < kRandomLanesPerUnit; ++lane) {
        const auto four = draw(random_words(random, std::uint64_t(position + lane)));
        for (int w = 0; w < 4; ++w) values[w][lane] = four.value[w];
      }
      for (int w = 0; w < 4; ++w) {
        for (index_t lane = 0; lane < kRandomLanesPerUnit; ++lane)
          place(first + w * kRandomLanes + lane, values[w][lane]);
      }
    } else {
      for (index_t lane = 0; lane < kRandomLanesPerUnit; ++lane) {
        const auto four = draw(random_words(random, std::uint64_t(position + lane)));
        for (int w = 0; w < 4; ++w) {
          if (first + lane + w * kRandomLanes < count) place(first + lane + w * kRandomLanes, four.value[w]);
        }
      }
    }
  });
}

// Standard normals for four elements.
__device__ inline Four<float> four_normals(PhiloxWords words) {
  const NormalPair a = normals_from(words.word[0], words.word[1]), b = normals_from(words.word[2], words.word[3]);
  return {a.first, a.second, b.first, b.second};
}

}  // namespace espalier::kernels
