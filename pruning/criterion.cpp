#include "pruning/criterion.h"

#include <map>
#include <memory>

#include "core/autograd/trace.h"
#include "core/device/stream.h"
#include "kernels/filter_distance.h"
#include "kernels/mask.h"
#include "kernels/random.h"
#include "kernels/require.h"
#include "pruning/product_steps.h"
#include "pruning/random_stream.h"

namespace espalier::pruning {
namespace {

Tensor spread(const kernels::TiledMatrix& tiles, const Tensor& of_groups, const Shape& weight) {
  Tensor scores = Tensor::empty(weight);
  kernels::spread_tiles(tiles, of_groups.data<float>(), scores.data<float>(), current_stream());
  return scores;
}

Criterion filter_distance(kernels::FilterDistance distance) {
  return [distance](const Parameter& parameter) {
    const Tensor& weight = parameter.value.value();
    const kernels::TiledMatrix rows = group::row()(weight.shape());
    const Tensor sums = Tensor::empty({rows.rows});
    kernels::filter_distances({.rows = rows.rows, .columns = rows.columns}, distance, weight.data<float>(),
                              sums.data<float>(), current_stream());
    return spread(rows, sums, weight.shape());
  };
}

// The scale of the batch norm that reads each weight's product, by the weight's address.
std::map<const void*, Tensor> scales_behind(Module& model, const Shape& input) {
  const Trace traced = trace_inference(model, Tensor::zeros(input));
  std::map<int, Tensor> scale_of_value;
  for (const Trace::Step& step : traced.steps) {
    if (step.function->name() == "batch_norm") {
      scale_of_value.emplace(step.inputs[0], traced.values[std::size_t(step.inputs[1])].tensor);
    }
  }
  std::map<const void*, Tensor> scales;
  for (const ProductStep& product : product_steps(traced)) {
    if (const auto scale = scale_of_value.find(product.output); scale != scale_of_value.end()) {
      scales.emplace(product.weight.raw(), scale->second);
    }
  }
  return scales;
}

}  // namespace

Criterion magnitude() {
  return [](const Parameter& parameter) {
    const Tensor& weight = parameter.value.value();
    Tensor scores = Tensor::like(weight);
    kernels::magnitude_scores(weight.size(), weight.data<float>(), scores.data<float>(), current_stream());
    return scores;
  };
}

Criterion random(std::uint64_t seed) {
  return [seed](const Parameter& parameter) {
    Tensor scores = Tensor::like(parameter.value.value());
    kernels::fill_uniform(scores.size(), random_stream(seed, parameter.name), 0.0f, 1.0f, scores.data<float>(),
                          current_stream());
    return scores;
  };
}

Criterion grouped(Criterion of_elements, Grouping groups, GroupScore score) {
  return [of_elements = std::move(of_elements), groups = std::move(groups), score](const Parameter& parameter) {
    const Tensor elements = of_elements(parameter);
    const kernels::TiledMatrix tiles = groups(parameter.value.shape());
    const Tensor of_groups = Tensor::empty({tiles.tiles()});
    kernels::reduce_tiles(tiles, score, elements.data<float>(), of_groups.data<float>(), current_stream());
    return spread(tiles, of_groups, elements.shape());
  };
}

Criterion l1(Grouping groups) { return grouped(magnitude(), std::move(groups), GroupScore::sum); }
Criterion l2(Grouping groups) { return grouped(magnitude(), std::move(groups), GroupScore::norm); }
Criterion mean_magnitude(Grouping groups) { return grouped(magnitude(), std::move(groups), GroupScore::mean); }

Criterion geometric_median() { return filter_distance(kernels::FilterDistance::euclidean); }
Criterion filter_dissimilarity() { return filter_distance(kernels::FilterDistance::angular); }

Criterion batch_norm_scale(Module& model, const Shape& input) {
  return [scales = scales_behind(model, input)](const Parameter& parameter) {
    const Tensor& weight = parameter.value.value();
    const auto scale = scales.find(weight.raw());
    require(scale != scales.end(), "batch_norm_scale: no batch norm follows ", parameter.name,
            "; name it in the pruner's `ignore`");
    const Tensor magnitudes = Tensor::like(scale->second);
    kernels::magnitude_scores(magnitudes.size(), scale->second.data<float>(), magnitudes.data<float>(),
                              current_stream());
    return spread(group::row()(weight.shape()), magnitudes, weight.shape());
  };
}

}  // namespace espalier::pruning
