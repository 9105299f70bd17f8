// Which implementation computes a product: ours, or the vendor's (cuBLAS and cuSPARSE; OpenBLAS in the cpu build).
#pragma once
#include <string_view>

namespace espalier {

enum class Math { handwritten, vendor };

std::string_view to_string(Math math);

// The choice of this thread; the default is the faster one for this kind of device.
Math current_math();

class MathScope {
 public:
  explicit MathScope(Math math);
  ~MathScope();
  MathScope(const MathScope&) = delete;
  MathScope& operator=(const MathScope&) = delete;

 private:
  Math previous_;
};

}  // namespace espalier
