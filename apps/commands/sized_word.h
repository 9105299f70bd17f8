// A word with numbers in it, taken apart.
#pragma once
#include <cctype>
#include <charconv>
#include <string>
#include <vector>

namespace espalier::apps {

using Sizes = std::vector<int>;

struct SizedWord {
  std::string form;  // "block-#x#" of "block-8x4"
  Sizes sizes;       // {8, 4}
  explicit SizedWord(const std::string& word) {
    const char* const end = word.data() + word.size();
    for (const char* at = word.data(); at < end;) {
      int size = 0;
      const auto [next, error] = std::from_chars(at, end, size);
      const bool number = std::isdigit(static_cast<unsigned char>(*at)) && error == std::errc();
      form += number ? '#' : *at == '#' ? ' ' : *at;
      if (number) sizes.push_back(size);
      at = number ? next : at + 1;
    }
  }
};

}  // namespace espalier::apps
