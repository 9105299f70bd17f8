#include "core/device/math.h"

namespace espalier {
namespace {

thread_local Math scoped_math = Math::fastest;

}  // namespace

std::string_view to_string(Math math) {
  if (math == Math::fastest) return "fastest";
  return math == Math::vendor ? "vendor" : "handwritten";
}

Math current_math() { return scoped_math; }

MathScope::MathScope(Math math) : previous_(scoped_math) { scoped_math = math; }
MathScope::~MathScope() { scoped_math = previous_; }

}  // namespace espalier
