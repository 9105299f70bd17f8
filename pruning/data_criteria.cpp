#include "pruning/data_criteria.h"

#include <algorithm>

#include "core/device/stream.h"
#include "kernels/inverse_fisher.h"
#include "kernels/mask.h"
#include "kernels/require.h"
#include "kernels/scores.h"

namespace espalier::pruning {
namespace {

using kernels::ScoreForm;

// A weight and a statistic of the same shape, multiplied.
Criterion weight_times(Calibration& calibration, Statistic statistic, ScoreForm form, float factor) {
  calibration.ask(statistic);
  return [&calibration, statistic, form, factor](const Parameter& parameter) {
    const Tensor& weight = parameter.value.value();
    Tensor scores = Tensor::like(weight);
    kernels::pair_scores(weight.size(), form, factor, weight.data<float>(),
                         calibration.of(statistic, parameter).data<float>(), scores.data<float>(), current_stream());
    return scores;
  };
}

}  // namespace

Criterion absolute_gradient(Calibration& calibration) {
  calibration.ask(Statistic::gradient_magnitude);
  return [&calibration](const Parameter& parameter) {
    return calibration.of(Statistic::gradient_magnitude, parameter).clone();
  };
}

Criterion taylor(Calibration& calibration) {
  return weight_times(calibration, Statistic::gradient_magnitude, ScoreForm::magnitude, 1.0f);
}

Criterion taylor_squared(Calibration& calibration) {
  return weight_times(calibration, Statistic::gradient_square, ScoreForm::square, 1.0f);
}

Criterion snip(Calibration& calibration) {
  return weight_times(calibration, Statistic::gradient, ScoreForm::magnitude, 1.0f);
}

Criterion grasp(Calibration& calibration) {
  return weight_times(calibration, Statistic::hessian_gradient, ScoreForm::product, 1.0f);
}

Criterion diagonal_fisher(Calibration& calibration) {
  return weight_times(calibration, Statistic::gradient_square, ScoreForm::square, 0.5f);
}

Criterion block_obs(Calibration& calibration) {
  calibration.ask(Statistic::inverse_fisher);
  return [&calibration](const Parameter& parameter) {
    const Tensor& weight = parameter.value.value();
    Tensor scores = Tensor::like(weight);
    kernels::obs_scores(weight.size(), weight.data<float>(),
                        calibration.of(Statistic::inverse_fisher, parameter).data<float>(), scores.data<float>(),
                        current_stream());
    return scores;
  };
}

Criterion activation_frequency(Calibration& calibration) {
  calibration.ask(Statistic::output_nonzeros);
  return [&calibration](const Parameter& parameter) {
    const Shape& shape = parameter.value.shape();
    Tensor scores = Tensor::empty(shape);
    kernels::spread_tiles(group::row()(shape), calibration.of(Statistic::output_nonzeros, parameter).data<float>(),
                          scores.data<float>(), current_stream());
    return scores;
  };
}

Criterion wanda(Calibration& calibration) {
  calibration.ask(Statistic::input_norm);
  return [&calibration](const Parameter& parameter) {
    const Tensor scores = magnitude()(parameter);
    const Tensor& norms = calibration.of(Statistic::input_norm, parameter);  // [groups, channels / groups]
    kernels::TiledMatrix tiles = group::channel()(scores.shape());
    tiles.tile_rows = tiles.rows / norms.shape()[0];  // filters of one group read the same channels
    kernels::multiply_tiles(tiles, norms.data<float>(), scores.data<float>(), scores.data<float>(), current_stream());
    return scores;
  };
}

Movement::Movement(Module& model) {
  for (const Parameter* parameter : model.parameters()) {
    const Tensor& weight = parameter->value.value();
    if (weight.shape().rank() < 2) continue;
    tracked_.push_back({parameter, weight.clone(), {"movement/" + parameter->name, Tensor::zeros(weight.shape())}});
  }
}

void Movement::observe() {
  for (const Tracked& tracked : tracked_) {
    if (!tracked.weight->value.has_gradient()) continue;
    const Tensor& weight = tracked.weight->value.value();
    kernels::accumulate_movement(weight.size(), tracked.weight->value.gradient().data<float>(), weight.data<float>(),
                                 tracked.before.data<float>(), tracked.score.value.data<float>(), current_stream());
  }
}

Tensor Movement::scores(const Parameter& parameter) const {
  const auto is_it = [&](const Tracked& tracked) { return tracked.weight == &parameter; };
  const auto found = std::find_if(tracked_.begin(), tracked_.end(), is_it);
  require(found != tracked_.end(), "movement: ", parameter.name, " is no weight of the model that it watches");
  return found->score.value.clone();
}

std::vector<Buffer*> Movement::state() {
  std::vector<Buffer*> state;
  for (Tracked& tracked : tracked_) state.push_back(&tracked.score);
  return state;
}

void Movement::weights_were_set() {
  for (const Tracked& tracked : tracked_) tracked.before.copy_from(tracked.weight->value.value());
}

Criterion movement(const Movement& movement) {
  return [&movement](const Parameter& parameter) { return movement.scores(parameter); };
}

}  // namespace espalier::pruning
