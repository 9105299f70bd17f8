// Batch normalisation per channel: with the statistics of the batch while training, with running ones after.
// The running statistics are buffers: a checkpoint keeps them, no gradient flows to them.
#pragma once
#include "layers/module.h"

namespace espalier {

struct BatchNormOptions {
  float epsilon = 1e-5f;
  float momentum = 0.1f;  // of the running statistics: running += momentum * (batch - running)
};

// Inputs: x, gamma, beta, running mean, running variance. Training writes the last two in place.
struct BatchNormFunction final : Function {
  BatchNormOptions options = {};
  bool training = true;

  std::string_view name() const override { return "batch_norm"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  Tensors backward(const Tensor& output_gradient, const Context& context) const override;
  ChannelFlow channel_flow() const override { return ChannelFlow::uniform; }
};

// x [N, channels] or [N, channels, ...]; y = gamma * (x - mean) / sqrt(variance + epsilon) + beta.
class BatchNorm : public Module {
 public:
  BatchNorm(std::int64_t channels, const BatchNormOptions& options);
  Variable operator()(const Variable& x) override;
  Description describe() const override;

  Parameter gamma, beta;                  // [channels]
  Buffer running_mean, running_variance;  // [channels]

 protected:
  std::vector<Parameter*> own_parameters() override { return {&gamma, &beta}; }
  std::vector<Buffer*> own_buffers() override { return {&running_mean, &running_variance}; }
  virtual void check_rank(const Shape& x) const = 0;
  void require_rank(bool right, const Shape& x, const char* expected) const;

 private:
  BatchNormOptions options_;
};

struct BatchNorm1d final : BatchNorm {  // x [N, channels] or [N, channels, length]
  explicit BatchNorm1d(std::int64_t channels, const BatchNormOptions& options = {}) : BatchNorm(channels, options) {}
  std::string_view kind() const override { return "batch_norm1d"; }

 protected:
  void check_rank(const Shape& x) const override;
};

struct BatchNorm2d final : BatchNorm {  // x [N, channels, height, width]
  explicit BatchNorm2d(std::int64_t channels, const BatchNormOptions& options = {}) : BatchNorm(channels, options) {}
  std::string_view kind() const override { return "batch_norm2d"; }

 protected:
  void check_rank(const Shape& x) const override;
};

}  // namespace espalier
