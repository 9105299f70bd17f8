// Words of the sources that are compiled at run time.
#pragma once
#include <cstdio>
#include <string>

#include "kernels/require.h"

namespace espalier::kernels::source_text {

// The shortest text that gives the very number back: hexadecimal digits.
inline std::string number(float value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%af", double(value));
  return text;
}

template <class... Parts>
std::string line(const Parts&... parts) {
  return (detail::text(parts) + ...) + "\n";
}

}  // namespace espalier::kernels::source_text
