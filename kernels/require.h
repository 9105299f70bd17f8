// Precondition checks for launchers: a broken one throws with the culprit, the values and the fix.
// Costs nothing but the test; the message is concatenated only when it is thrown.
#pragma once
#include <stdexcept>
#include <string>

namespace espalier {

struct InvalidArgument : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

namespace detail {
inline std::string text(const char* value) { return value; }
inline std::string text(const std::string& value) { return value; }
template <class T>
std::string text(const T& value) {
  return std::to_string(value);
}
}  // namespace detail

// require(x > 0, "gemm: k is ", k, "; ..."): throws InvalidArgument when the condition is false.
template <class... Parts>
void require(bool condition, const Parts&... message) {
  if (!condition) throw InvalidArgument((detail::text(message) + ...));
}

}  // namespace espalier
