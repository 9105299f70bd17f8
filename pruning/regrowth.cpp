#include "pruning/regrowth.h"

#include <cmath>
#include <numbers>

#include "core/device/stream.h"
#include "kernels/elementwise.h"
#include "kernels/keep.h"
#include "kernels/mask.h"
#include "kernels/random.h"
#include "kernels/require.h"
#include "pruning/choice.h"
#include "pruning/random_stream.h"

namespace espalier::pruning {
namespace {

Tensor magnitudes(const Tensor& x) {
  Tensor scores = Tensor::like(x);
  kernels::magnitude_scores(x.size(), x.data<float>(), scores.data<float>(), current_stream());
  return scores;
}

}  // namespace

Growth grow_by_gradient() {
  return [](const Parameter& parameter, int) {
    require(parameter.value.has_gradient(), parameter.name,
            ": regrowth by gradient needs the gradient of the last "
            "batch; do not clear it before the pruner's step");
    return magnitudes(parameter.value.gradient());
  };
}

Growth grow_at_random(std::uint64_t seed) {
  return [seed](const Parameter& parameter, int step) {
    Tensor scores = Tensor::like(parameter.value.value());
    kernels::fill_uniform(scores.size(), random_stream(seed, parameter.name, std::uint64_t(step) + 1), 0.0f, 1.0f,
                          scores.data<float>(), current_stream());
    return scores;
  };
}

double Regrowth::fraction_at(int step) const {
  return fraction * 0.5 * (1.0 + std::cos(std::numbers::pi * double(step - begin) / double(end - begin)));
}

void require_possible(const Regrowth& regrowth) {
  require(regrowth.growth != nullptr, "regrowth: no rule says what grows");
  require(regrowth.fraction > 0.0 && regrowth.fraction < 1.0, "regrowth: fraction is ", regrowth.fraction,
          "; it is the part of the living weights that is exchanged, above 0 and below 1");
  require(regrowth.begin >= 0 && regrowth.end > regrowth.begin && regrowth.every >= 1, "regrowth: begin ",
          regrowth.begin, ", end ", regrowth.end, ", every ", regrowth.every,
          "; needs 0 <= begin < end and every >= 1");
}

void regrow(const Regrowth& regrowth, int step, Parameter& parameter) {
  if (!parameter.mask()) return;
  const std::int64_t living = parameter.mask()->kept();
  const auto dropped = std::int64_t(regrowth.fraction_at(step) * double(living));
  if (dropped == 0 || living == parameter.size()) return;
  const Tensor weights = magnitudes(parameter.value.value());
  bury_pruned(parameter, weights);
  const Mask survivors = highest(weights, living - dropped);
  const Tensor candidates = regrowth.growth(parameter, step);
  kernels::exalt_kept(candidates.size(), survivors.keep.data<std::uint8_t>(), candidates.data<float>(),
                      current_stream());
  parameter.set_mask(highest(candidates, living));
}

void require_possible(const Splicing& splicing) {
  require(splicing.rate >= 0.0f && splicing.favour >= 1.0f, "splicing: rate ", splicing.rate, ", favour ",
          splicing.favour, "; needs a rate of at least 0 and a favour of at least 1");
  require(splicing.begin >= 0 && splicing.end > splicing.begin && splicing.every >= 1, "splicing: begin ",
          splicing.begin, ", end ", splicing.end, ", every ", splicing.every,
          "; needs 0 <= begin < end and every >= 1");
}

void follow_in_shadow(const Splicing& splicing, const Parameter& parameter, const Tensor& shadow) {
  if (!parameter.mask()) return shadow.copy_from(parameter.value.value());
  require(parameter.value.has_gradient(), parameter.name,
          ": splicing needs the gradient of the last batch; do not clear it before the pruner's step");
  kernels::follow_in_shadow(shadow.size(), parameter.mask()->keep.data<std::uint8_t>(),
                            parameter.value.value().data<float>(), parameter.value.gradient().data<float>(),
                            splicing.rate, shadow.data<float>(), current_stream());
}

void splice(const Splicing& splicing, Parameter& parameter, const Tensor& shadow) {
  if (!parameter.mask()) return;
  const Mask before = *parameter.mask();
  const Tensor scores = Tensor::like(shadow);
  kernels::splicing_scores(scores.size(), before.keep.data<std::uint8_t>(), splicing.favour, shadow.data<float>(),
                           scores.data<float>(), current_stream());
  const Mask after = highest(scores, before.kept());
  parameter.set_mask(after);
  kernels::step_out_of_shadow(scores.size(), before.keep.data<std::uint8_t>(), after.keep.data<std::uint8_t>(),
                              shadow.data<float>(), parameter.value.value().data<float>(), current_stream());
}

}  // namespace espalier::pruning
