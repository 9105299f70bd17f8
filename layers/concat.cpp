#include "layers/concat.h"

#include "core/device/stream.h"
#include "kernels/concat.h"
#include "kernels/require.h"

namespace espalier {
namespace {

std::int64_t row_of(const Shape& shape) { return shape.size() / shape[0]; }  // elements of one sample

void require_joinable(const Shape& first, const Shape& other) {
  const bool same_rank = first.rank() >= 2 && first.rank() == other.rank();
  bool fits = same_rank;
  for (std::size_t axis = 0; same_rank && axis < first.rank(); ++axis) {
    fits = fits && (axis == 1 || first.extents()[axis] == other.extents()[axis]);
  }
  require(fits, "concat: the branches give ", first.to_string(), " and ", other.to_string(),
          "; they may differ in axis 1, the channels, alone");
}

}  // namespace

Tensor ConcatFunction::forward(const Tensors& inputs, Context& context) const {
  std::vector<std::int64_t> extents = inputs.at(0).shape().extents();
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    require_joinable(inputs[0].shape(), inputs[i].shape());
    if (i > 0) extents[1] += inputs[i].shape()[1];
    if (context.recording) context.saved_shapes.push_back(inputs[i].shape());
  }
  const Tensor y = Tensor::empty(Shape(std::move(extents)));
  std::int64_t begin = 0;
  for (const Tensor& x : inputs) {
    const std::int64_t columns = row_of(x.shape());
    kernels::copy_columns(
        {.rows = y.shape()[0], .columns = columns, .from_pitch = columns, .to_pitch = row_of(y.shape())},
        x.data<float>(), y.data<float>() + begin, current_stream());
    begin += columns;
  }
  return y;
}

Tensors ConcatFunction::backward(const Tensor& dy, const Context& context) const {
  Tensors gradients(context.saved_shapes.size());
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    const std::int64_t columns = row_of(context.saved_shapes[i]);
    if (context.needs(i)) {
      gradients[i] = Tensor::empty(context.saved_shapes[i]);
      kernels::copy_columns(
          {.rows = dy.shape()[0], .columns = columns, .from_pitch = row_of(dy.shape()), .to_pitch = columns},
          dy.data<float>() + begin, gradients[i].data<float>(), current_stream());
    }
    begin += columns;
  }
  return gradients;
}

Variable concat(const std::vector<Variable>& parts) {
  require(!parts.empty(), "concat: nothing to join");
  return espalier::apply(std::make_shared<ConcatFunction>(), parts);  // std::apply would be found too
}

Concat::Concat(std::vector<std::unique_ptr<Module>> branches) : branches_(std::move(branches)) { check_and_name(); }

Variable Concat::operator()(const Variable& x) {
  std::vector<Variable> parts;
  for (const auto& branch : branches_) parts.push_back((*branch)(x));
  return concat(parts);
}

Description Concat::describe() const {
  Description description{"concat", {}, {}};
  for (const auto& branch : branches_) description.children.push_back(branch->describe());
  return description;
}

std::vector<Module*> Concat::children() {
  std::vector<Module*> children;
  for (const auto& branch : branches_) children.push_back(branch.get());
  return children;
}

void Concat::check_and_name() {
  require(!branches_.empty(), "concat: no branches; give the modules whose results are to be joined");
  set_name(name());
}

}  // namespace espalier
