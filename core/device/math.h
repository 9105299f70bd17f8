// Which implementation computes a product: ours, or the vendor's (cuBLAS and cuSPARSE; OpenBLAS in the cpu build).
// `fastest` leaves it to each layer: the vendor's product, but ours where it takes in the pool that follows.
#pragma once
#include <string_view>

namespace espalier {

enum class Math { handwritten, vendor, fastest };

std::string_view to_string(Math math);

// The choice of this thread; the default is fastest.
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
