#include "pruning/shrink_fold.h"

#include <algorithm>
#include <cstring>

#include "layers/batch_norm.h"
#include "layers/product.h"

namespace espalier::pruning {
namespace {

StoredTensor stored(const Shape& shape, const std::vector<float>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {DType::f32, shape, {bytes.begin(), bytes.end()}};
}

// The constants that one product reads: on carriers, and as a sum for each filter.
class ProductFold {
 public:
  ProductFold(const ChannelGraph& graph, const Trace::Step& step, ModelTensors& tensors)
      : graph_(graph),
        step_(step),
        tensors_(tensors),
        shape_(channel_product(graph, step)),
        name_(graph.named_input(step, 1)->name),
        before_(tensors.values.at(name_).floats()),
        after_(before_.begin(), before_.end()),
        sums_(std::size_t(shape_.filters), 0.0) {}

  void add(const ConstantFold& fold) {
    const std::int64_t group = fold.input / shape_.inputs, filters = shape_.filters_per_group();
    for (std::int64_t filter = group * filters; filter < (group + 1) * filters; ++filter) {
      const std::size_t from = place(filter, fold.input);
      for (std::size_t tap = 0; tap < std::size_t(shape_.taps); ++tap) {
        const double weight = double(before_[from + tap]);
        if (weight == 0.0) continue;
        if (fold.carrier < 0) {
          sums_[std::size_t(filter)] += weight * fold.value;
        } else {
          carry(place(filter, fold.carrier) + tap, weight * fold.value / fold.onto);
        }
      }
    }
  }

  void finish() {
    tensors_.values.at(name_) = stored(tensors_.values.at(name_).shape, {after_.begin(), after_.end()});
    if (std::all_of(sums_.begin(), sums_.end(), [](double sum) { return sum == 0.0; })) return;
    if (const auto* const bias = graph_.named_input(step_, 2)) return add_sums(bias->name, +1.0);
    if (const auto* const mean = mean_of_reader()) return add_sums(mean->name, -1.0);
    const std::string bias = layer_of(name_) + ".bias";
    tensors_.values.emplace(bias, stored({shape_.filters}, std::vector<float>(sums_.size(), 0.0f)));
    add_sums(bias, +1.0);
  }

 private:
  std::size_t place(std::int64_t filter, std::int64_t input) const {
    return std::size_t((filter * shape_.inputs + input % shape_.inputs) * shape_.taps);
  }

  void carry(std::size_t at, double weight) {
    after_[at] += weight;
    unmask(name_, at);
  }

  void unmask(const std::string& name, std::size_t at) {
    const auto mask = tensors_.masks.find(name);
    if (mask != tensors_.masks.end()) mask->second.bytes[at] = std::byte(1);
  }

  void add_sums(const std::string& name, double sign) {
    StoredTensor& tensor = tensors_.values.at(name);
    std::vector<float> values = tensor.floats();
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (sums_[i] == 0.0) continue;
      values[i] = float(double(values[i]) + sign * sums_[i]);
      unmask(name, i);
    }
    tensor = stored(tensor.shape, values);
  }

  // Of the batch norm that alone reads the product as it is.
  const ChannelGraph::Named* mean_of_reader() const {
    const auto& product = dynamic_cast<const ProductFunction&>(*step_.function);
    const Trace::Step* reader = nullptr;
    int readers = graph_.trace.output == step_.output ? 1 : 0;
    for (const Trace::Step& step : graph_.trace.steps) {
      for (const int input : step.inputs) {
        if (input == step_.output) reader = &step, ++readers;
      }
    }
    const bool norm = readers == 1 && reader && dynamic_cast<const BatchNormFunction*>(reader->function.get());
    return norm && product.activation == kernels::Activation::none ? graph_.named_input(*reader, 3) : nullptr;
  }

  const ChannelGraph& graph_;
  const Trace::Step& step_;
  ModelTensors& tensors_;
  ChannelProduct shape_;
  std::string name_;
  std::vector<float> before_;
  std::vector<double> after_;
  std::vector<double> sums_;  // per filter, for the bias
};

}  // namespace

ModelTensors tensors_of(Module& model) {
  ModelTensors tensors;
  for (const Parameter* parameter : model.parameters()) {
    tensors.values.emplace(parameter->name, StoredTensor::of(parameter->value.value()));
    if (parameter->mask()) tensors.masks.emplace(parameter->name, StoredTensor::of(parameter->mask()->keep));
  }
  for (const Buffer* buffer : model.buffers()) tensors.values.emplace(buffer->name, StoredTensor::of(buffer->value));
  return tensors;
}

void fold_constants(const ChannelGraph& graph, const Removal& removal, ModelTensors& tensors) {
  std::map<std::size_t, ProductFold> products;
  for (const ConstantFold& fold : removal.folds) {
    const auto product = products.try_emplace(fold.step, graph, graph.trace.steps[fold.step], tensors).first;
    product->second.add(fold);
  }
  for (auto& [step, product] : products) product.finish();
}

}  // namespace espalier::pruning
