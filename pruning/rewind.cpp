#include "pruning/rewind.h"

#include "core/device/stream.h"
#include "kernels/elementwise.h"

namespace espalier::pruning {

Snapshot::Snapshot(Module& model) : model_(&model) {
  for (const Parameter* parameter : model.parameters()) {
    values_.push_back({"rewind/" + parameter->name, parameter->value.value().clone()});
  }
  for (const Buffer* buffer : model.buffers()) values_.push_back({"rewind/" + buffer->name, buffer->value.clone()});
}

void Snapshot::take() {
  std::size_t i = 0;
  for (const Parameter* parameter : model_->parameters()) values_[i++].value.copy_from(parameter->value.value());
  for (const Buffer* buffer : model_->buffers()) values_[i++].value.copy_from(buffer->value);
}

void Snapshot::put_back(Optimizer& optimizer) const {
  std::size_t i = 0;
  for (const Parameter* parameter : model_->parameters()) {
    const Tensor& weight = parameter->value.value();
    weight.copy_from(values_[i++].value);
    if (!parameter->mask()) continue;
    kernels::apply_keep(weight.size(), parameter->mask()->keep.data<std::uint8_t>(), weight.data<float>(),
                        weight.data<float>(), current_stream());
  }
  for (const Buffer* buffer : model_->buffers()) buffer->value.copy_from(values_[i++].value);
  for (const Buffer* moments : optimizer.state()) {
    kernels::fill(moments->value.size(), 0.0f, moments->value.data<float>(), current_stream());
  }
  optimizer.set_steps(0);
}

std::vector<Buffer*> Snapshot::state() {
  std::vector<Buffer*> state;
  for (Buffer& value : values_) state.push_back(&value);
  return state;
}

}  // namespace espalier::pruning
