// What pulls weights to zero while a model trains, beside each update: proximal steps, and the noise and gates of
// random weights. At the size of lenet-5's largest layer and of a 4096 x 4096 one.
#include <array>

#include "apps/benchmarks/case.h"
#include "apps/benchmarks/operands.h"
#include "core/device/stream.h"
#include "kernels/hard_concrete.h"
#include "kernels/proximal.h"
#include "kernels/variational.h"

namespace espalier::benchmarks {
namespace {

using kernels::index_t;
using kernels::PlanesShape;

struct Weight {
  const char* name;
  index_t rows, columns;
  index_t size() const { return rows * columns; }
};
constexpr Weight kWeights[] = {{"lenet-5 dense_1, 500 x 800", 500, 800}, {"4096 x 4096", 4096, 4096}};

const float kRate = 1e-3f, kStrength = 1e-3f;

Tensor number(float value) { return Tensor::full({1}, value); }

std::function<void()> l1(const Weight& weight) {
  const Tensor w = random({weight.size()}), rate = number(kRate);
  const std::array tensors{kernels::Penalised{w.data<float>(), w.size()}};
  return [=] {
    static_cast<void>(w);
    kernels::proximal_l1(tensors, rate.data<float>(), kStrength, current_stream());
  };
}

std::function<void()> l2(const Weight& weight) {
  const Tensor w = random({weight.size()}), chosen = random_bytes({weight.size()}, 2);
  const Tensor rate = number(kRate), strength = number(kStrength);
  const std::array tensors{kernels::ChosenWeights{w.data<float>(), chosen.data<std::uint8_t>(), w.size()}};
  return [=] {
    static_cast<void>(w), static_cast<void>(chosen);
    kernels::proximal_l2(tensors, rate.data<float>(), strength.data<float>(), current_stream());
  };
}

std::function<void()> pull(const Weight& weight) {
  const Tensor w = random({weight.size()}, 1), target = random({weight.size()}, 2);
  const Tensor rate = number(kRate), strength = number(kStrength);
  const std::array tensors{kernels::PulledWeights{w.data<float>(), target.data<float>(), w.size()}};
  return [=] {
    static_cast<void>(w), static_cast<void>(target);
    kernels::proximal_pull(tensors, rate.data<float>(), strength.data<float>(), current_stream());
  };
}

std::function<void()> split(const Weight& weight) {
  const Tensor dual = random({weight.size()}), target = Tensor::like(dual), keep = random_bytes({weight.size()}, 2);
  return [=] {
    kernels::split_projection(dual.size(), keep.data<std::uint8_t>(), dual.data<float>(), target.data<float>(),
                              current_stream());
  };
}

std::function<void()> group_lasso(const Weight& weight) {
  const Tensor w = random({weight.size()}), rate = number(kRate);
  const PlanesShape rows{.channels = weight.rows, .area = weight.columns};
  return [=] { kernels::proximal_group_lasso(rows, rate.data<float>(), kStrength, w.data<float>(), current_stream()); };
}

struct Random {
  Tensor weight, learned, gradient, of_weight, of_learned, strength = number(kStrength);
  Tensor step = Tensor::zeros({1}, DType::i64);

  Random(index_t weights, index_t distributions)
      : weight(random({weights}, 1)),
        learned(random({distributions}, 2)),
        gradient(random({weights}, 3)),
        of_weight(Tensor::like(weight)),
        of_learned(Tensor::like(learned)) {}
  kernels::VariationalWeight view() const {
    return {.count = weight.size(), .mean = weight.data<float>(), .log_variance = learned.data<float>()};
  }
};

std::function<void()> variance(const Weight& weight) {
  const Random of(weight.size(), weight.size());
  return [=] { kernels::weight_variance(of.view(), of.of_weight.data<float>(), current_stream()); };
}

std::function<void()> variational(const Weight& weight) {
  const Random of(weight.size(), weight.size());
  return [=] {
    kernels::variational_gradients(of.view(), of.gradient.data<float>(), of.strength.data<float>(),
                                   of.of_weight.data<float>(), of.of_learned.data<float>(), current_stream());
  };
}

std::function<void()> signal(const Weight& weight) {
  const Random of(weight.size(), weight.size());
  return [=] { kernels::signal_to_noise(of.view(), of.of_weight.data<float>(), current_stream()); };
}

std::function<void()> noise(const Weight& weight) {
  const Random of(weight.size(), weight.size());
  const Tensor variance = Tensor::full({weight.size()}, 0.5f);
  return [=] {
    kernels::add_gaussian_noise(weight.size(), 1, of.step.data<std::int64_t>(), of.weight.data<float>(),
                                variance.data<float>(), of.of_weight.data<float>(), of.of_learned.data<float>(),
                                current_stream());
  };
}

std::function<void()> square(const Weight& weight) {
  const Random of(weight.size(), weight.size());
  return [=] {
    kernels::square_backward(weight.size(), of.weight.data<float>(), of.gradient.data<float>(),
                             of.of_weight.data<float>(), current_stream());
  };
}

std::function<void()> draw(const Weight& weight) {
  const Random of(weight.size(), weight.size());
  return [=] {
    kernels::draw_gates(weight.size(), {}, 1, of.step.data<std::int64_t>(), of.learned.data<float>(),
                        of.of_weight.data<float>(), of.of_learned.data<float>(), current_stream());
  };
}

std::function<void()> expected(const Weight& weight) {
  const Random of(weight.size(), weight.size());
  return [=] {
    kernels::expected_gates(weight.size(), {}, of.learned.data<float>(), of.of_learned.data<float>(), current_stream());
  };
}

std::function<void()> gate(const Weight& weight, const PlanesShape& groups) {
  const Random of(weight.size(), groups.channels);
  return [=] {
    kernels::gate_weights(groups, of.learned.data<float>(), of.weight.data<float>(), of.of_weight.data<float>(),
                          current_stream());
  };
}

std::function<void()> gate_backward(const Weight& weight, const PlanesShape& groups) {
  const Random of(weight.size(), groups.channels);
  const Tensor slope = random({groups.channels}, 4), gates = random({groups.channels}, 5);
  return [=] {
    kernels::gate_gradients(groups, {}, gates.data<float>(), slope.data<float>(), of.learned.data<float>(),
                            of.weight.data<float>(), of.gradient.data<float>(), of.strength.data<float>(),
                            {of.of_weight.data<float>(), of.of_learned.data<float>()}, current_stream());
  };
}

}  // namespace

Cases penalty_cases() {
  Cases cases;
  for (const Weight& weight : kWeights) {
    const PlanesShape each{.channels = weight.size()}, rows{.channels = weight.rows, .area = weight.columns};
    const auto add = [&](const char* kernel, double bytes, const std::function<std::function<void()>()>& make) {
      cases.push_back(
          {.kernel = kernel, .shape = weight.name, .bytes = bytes * double(weight.size()), .prepare = [make] {
             return Variants{{"ours", make()}};
           }});
    };
    add("proximal_l1", 8, [&weight] { return l1(weight); });
    add("proximal_l2, half of them", 9, [&weight] { return l2(weight); });
    add("proximal_pull", 12, [&weight] { return pull(weight); });
    add("split_projection", 13, [&weight] { return split(weight); });
    add("proximal_group_lasso, rows", 8, [&weight] { return group_lasso(weight); });
    add("weight_variance", 8, [&weight] { return variance(weight); });
    add("variational_gradients", 20, [&weight] { return variational(weight); });
    add("signal_to_noise", 12, [&weight] { return signal(weight); });
    add("add_gaussian_noise", 16, [&weight] { return noise(weight); });
    add("square_backward", 12, [&weight] { return square(weight); });
    add("draw_gates", 12, [&weight] { return draw(weight); });
    add("expected_gates", 8, [&weight] { return expected(weight); });
    add("gate_weights", 12, [&weight, each] { return gate(weight, each); });
    add("gate_weights, rows", 8, [&weight, rows] { return gate(weight, rows); });
    add("gate_gradients", 28, [&weight, each] { return gate_backward(weight, each); });
    add("gate_gradients, rows", 12, [&weight, rows] { return gate_backward(weight, rows); });
  }
  return cases;
}

}  // namespace espalier::benchmarks
