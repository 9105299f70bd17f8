// A weight that is random while a model trains: what layers compute with in the place of its value. How random it is
// may be learned, since what is drawn stands on the tape; pruning/random_weights.h finds out so which weights say
// nothing.
#pragma once
#include <cstdint>
#include <optional>

#include "core/autograd/variable.h"

namespace espalier {

struct DrawnWeight {
  Variable mean;                          // without a variance: the weight itself
  std::optional<Variable> variance = {};  // of each weight; then a product draws its sums (kernels/variational.h) ...
  std::uint64_t seed = 0;                 // ... from this stream ...
  Tensor step = {};                       // ... at this place, i64 [1] on the device
};

class RandomWeight {
 public:
  virtual ~RandomWeight() = default;
  virtual DrawnWeight draw(const Variable& weight) const = 0;   // in training
  virtual Variable expected(const Variable& weight) const = 0;  // else
};

}  // namespace espalier
