// A weight that training changes, and the mask that pruning puts on it.
// Invariant: where a mask says 0, the value is exactly 0.0f. set_mask() establishes it, the optimiser's update
// kernels keep it, so every product, checkpoint and encoder sees true zeros and forward pays nothing for them.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "core/autograd/variable.h"
#include "core/train/kept_weights.h"
#include "core/train/random_weight.h"

namespace espalier {

// State that a checkpoint must keep though no gradient flows to it: running statistics, random-number counters.
struct Buffer {
  std::string name;
  Tensor value;
};

struct Mask {
  Tensor keep;                // u8, shape of the weight; 1 = lives
  std::int64_t kept() const;  // counts on the device and waits
};

class Parameter {
 public:
  Parameter(std::string name, Tensor value);
  std::string name;          // "dense_1.weight" once its module is part of a model
  Variable value;            // requires a gradient
  void set_mask(Mask mask);  // zeroes the value where keep is 0; throws InvalidArgument when the shapes differ
  void clear_mask();
  const Mask* mask() const { return mask_ ? &*mask_ : nullptr; }
  // The mask as the update kernels read it: u32, bit i % 32 of word i / 32; undefined without a mask.
  const Tensor& keep_bits() const { return keep_bits_; }
  std::int64_t size() const { return value.value().size(); }

  // A layer says by this that it can compute with the living weights alone; it then does while kept() is there.
  bool can_train_kept = false;
  std::int64_t kept_groups = 1;  // of a convolution that can
  // From now on gradients flow to kept()->values, and those of pruned weights do not exist. Until the mask changes.
  void train_kept(SampledBy by = SampledBy::ours);  // needs a mask
  void train_all() { kept_.reset(); }
  const std::shared_ptr<KeptWeights>& kept() const { return kept_; }  // null: all weights are trained, or none pruned
  // What the last backward() left a gradient in: kept()->values or value.
  Variable& trained() { return kept_ && kept_->values.has_gradient() ? kept_->values : value; }
  const Variable& trained() const { return kept_ && kept_->values.has_gradient() ? kept_->values : value; }
  void clear_gradient();

  // A layer says by this that it can compute with a random weight; it then does while random() is there.
  bool can_be_random = false;
  void set_random(std::shared_ptr<const RandomWeight> random);  // null: layers compute with the value again
  const std::shared_ptr<const RandomWeight>& random() const { return random_; }

 private:
  std::optional<Mask> mask_;
  Tensor keep_bits_;
  std::shared_ptr<KeptWeights> kept_;
  std::shared_ptr<const RandomWeight> random_;
};

}  // namespace espalier
