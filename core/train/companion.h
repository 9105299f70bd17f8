// What rides along with a training run and must go on where it stopped: a pruner.
#pragma once
#include <string>
#include <vector>

#include "core/train/parameter.h"

namespace espalier {

class Companion {
 public:
  virtual ~Companion() = default;
  virtual std::string record() const = 0;                   // where it stands, in text
  virtual void check(const std::string& record) const = 0;  // throws InvalidArgument where it is not of such a run
  virtual void restore(const std::string& record) = 0;      // after weights, masks and state are back
  virtual std::vector<Buffer*> state() = 0;                 // tensors, by names of its own; the same at every step
};

}  // namespace espalier
