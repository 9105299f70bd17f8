// Sums over rows, columns and channels, softmax, losses and normalisations: bound by memory, at the sizes of training
// with a batch of 128 and larger ones.
#include "apps/benchmarks/case.h"
#include "apps/benchmarks/operands.h"
#include "core/device/stream.h"
#include "kernels/batch_norm.h"
#include "kernels/confusion.h"
#include "kernels/distillation.h"
#include "kernels/layer_norm.h"
#include "kernels/reduce.h"
#include "kernels/softmax.h"
#include "kernels/squared_error.h"

namespace espalier::benchmarks {
namespace {

using kernels::MatrixShape;
using kernels::PlanesShape;
using kernels::Reduction;

struct Matrix {
  const char* name;
  MatrixShape shape;
};
constexpr Matrix kLogits[] = {{"128 x 10", {128, 10}}, {"4096 x 1000", {4096, 1000}}};
constexpr Matrix kMatrices[] = {{"128 x 500", {128, 500}}, {"4096 x 4096", {4096, 4096}}};

struct Images {
  const char* name;
  PlanesShape shape;
};
constexpr Images kImages[] = {{"resnet-small 16 x 28 x 28, batch 128", {128, 16, 28 * 28}},
                              {"64 x 56 x 56, batch 64", {64, 64, 56 * 56}}};

// A case of one variant: `bytes` and `flops` for each element of x.
Case simple(const char* kernel, const char* shape, double elements, double bytes, double flops,
            std::function<std::function<void()>()> make) {
  return {.kernel = kernel, .shape = shape, .flops = flops * elements, .bytes = bytes * elements, .prepare = [make] {
            return Variants{{"ours", make()}};
          }};
}

void add_matrix_sums(Cases& cases) {
  for (const auto& [name, s] : kMatrices) {
    const double n = double(s.size());
    cases.push_back(simple("reduce_all", name, n, 4, 1, [s = s] {
      const Tensor x = random({s.rows, s.columns}), y = Tensor::empty({1});
      const Scratch scratch = Scratch::of_bytes(kernels::reduce_all_workspace_bytes(s.size()));
      return [=] {
        kernels::reduce_all(s.size(), Reduction::sum, x.data<float>(), y.data<float>(), scratch.raw(),
                            current_stream());
      };
    }));
    cases.push_back(simple("reduce_rows", name, n, 4, 1, [s = s] {
      const Tensor x = random({s.rows, s.columns}), y = Tensor::empty({s.rows});
      const Scratch scratch = Scratch::of_bytes(kernels::reduce_rows_workspace_bytes(s));
      return [=] {
        kernels::reduce_rows(s, Reduction::sum, x.data<float>(), y.data<float>(), scratch.raw(), current_stream());
      };
    }));
    cases.push_back(simple("reduce_columns", name, n, 4, 1, [s = s] {
      const Tensor x = random({s.rows, s.columns}), y = Tensor::empty({s.columns});
      const Scratch scratch = Scratch::of_bytes(kernels::reduce_columns_workspace_bytes(s));
      return [=] {
        kernels::reduce_columns(s, Reduction::sum, x.data<float>(), y.data<float>(), scratch.raw(), current_stream());
      };
    }));
    cases.push_back(simple("argmax_rows", name, n, 4, 1, [s = s] {
      const Tensor x = random({s.rows, s.columns}), index = Tensor::empty({s.rows}, DType::i32);
      return [=] { kernels::argmax_rows(s, x.data<float>(), index.data<std::int32_t>(), current_stream()); };
    }));
  }
}

void add_plane_sums(Cases& cases) {
  for (const auto& [name, s] : kImages) {
    cases.push_back(simple("reduce_planes", name, double(s.size()), 4, 1, [s = s] {
      const Tensor x = random({s.size()}), y = Tensor::empty({s.channels});
      const Scratch scratch = Scratch::of_bytes(kernels::reduce_planes_workspace_bytes(s));
      return [=] {
        kernels::reduce_planes(s, Reduction::sum, x.data<float>(), y.data<float>(), scratch.raw(), current_stream());
      };
    }));
  }
}

std::function<void()> cross_entropy(const MatrixShape& s) {
  const Tensor logits = random({s.rows, s.columns}), labels = random_labels(s.rows, int(s.columns));
  const Tensor loss = Tensor::empty({1}), dlogits = Tensor::like(logits);
  const Scratch scratch = Scratch::of_bytes(kernels::softmax_cross_entropy_workspace_bytes(s));
  return [=] {
    kernels::softmax_cross_entropy(s, 0.0f, logits.data<float>(), labels.data<std::int32_t>(),
                                   {.loss = loss.data<float>(), .dlogits = dlogits.data<float>()}, scratch.raw(),
                                   current_stream(), scratch.arrivals());
  };
}

// Of one teacher.
std::function<void()> distillation(const MatrixShape& s) {
  const Tensor logits = random({s.rows, s.columns}), of_teacher = random({s.rows, s.columns}, 2);
  const Tensor labels = random_labels(s.rows, int(s.columns));
  const Tensor loss = Tensor::empty({1}), dlogits = Tensor::like(logits);
  const Scratch scratch = Scratch::of_bytes(kernels::softmax_cross_entropy_workspace_bytes(s));
  return [=] {
    kernels::distillation_loss(s, {}, {.logits = {of_teacher.data<float>()}, .count = 1}, logits.data<float>(),
                               labels.data<std::int32_t>(),
                               {.loss = loss.data<float>(), .dlogits = dlogits.data<float>()}, scratch.raw(),
                               current_stream(), scratch.arrivals());
  };
}

std::function<void()> confusion(const MatrixShape& s) {
  const Tensor logits = random({s.rows, s.columns}), labels = random_labels(s.rows, int(s.columns));
  const Tensor mean_loss = Tensor::zeros({1}), counts = Tensor::zeros({s.columns * s.columns}, DType::i64);
  const Tensor loss_sum = Tensor::zeros({1}, DType::f64);
  return [=] {
    kernels::accumulate_confusion(s.rows, s.columns, logits.data<float>(), labels.data<std::int32_t>(),
                                  mean_loss.data<float>(), counts.data<std::int64_t>(), loss_sum.data<double>(),
                                  current_stream());
  };
}

void add_losses(Cases& cases) {
  using RowMap = void (*)(const MatrixShape&, const float*, float*, cudaStream_t, kernels::RowTeam);
  using RowGradient = void (*)(const MatrixShape&, const float*, const float*, float*, cudaStream_t, kernels::RowTeam);
  const auto automatic = kernels::RowTeam::automatic;
  for (const auto& [name, s] : kLogits) {
    const double n = double(s.size());
    const auto forward = [s = s, automatic](RowMap launcher) {
      return [=] {
        const Tensor x = random({s.rows, s.columns}), y = Tensor::like(x);
        return [=] { launcher(s, x.data<float>(), y.data<float>(), current_stream(), automatic); };
      };
    };
    const auto backward = [s = s, automatic](RowGradient launcher) {
      return [=] {
        const Tensor y = random({s.rows, s.columns}), dy = random({s.rows, s.columns}, 2), dx = Tensor::like(y);
        return [=] { launcher(s, y.data<float>(), dy.data<float>(), dx.data<float>(), current_stream(), automatic); };
      };
    };
    cases.push_back(simple("softmax_forward", name, n, 8, 20, forward(kernels::softmax_forward)));
    cases.push_back(simple("softmax_backward", name, n, 12, 4, backward(kernels::softmax_backward)));
    cases.push_back(simple("log_softmax_forward", name, n, 8, 20, forward(kernels::log_softmax_forward)));
    cases.push_back(simple("log_softmax_backward", name, n, 12, 20, backward(kernels::log_softmax_backward)));
    cases.push_back(simple("softmax_cross_entropy", name, n, 8, 20, [s = s] { return cross_entropy(s); }));
    cases.push_back(simple("distillation_loss", name, n, 12, 60, [s = s] { return distillation(s); }));
    cases.push_back(simple("accumulate_confusion", name, n, 4, 1, [s = s] { return confusion(s); }));
  }
  for (const auto& [name, s] : kMatrices) {
    cases.push_back(simple("mean_squared_error", name, double(s.size()), 12, 3, [s = s] {
      const Tensor x = random({s.size()}), target = random({s.size()}, 2), loss = Tensor::empty({1});
      const Tensor dx = Tensor::like(x);
      const Scratch scratch = Scratch::of_bytes(kernels::mean_squared_error_workspace_bytes(s.size()));
      return [=] {
        kernels::mean_squared_error(s.size(), x.data<float>(), target.data<float>(), loss.data<float>(),
                                    dx.data<float>(), scratch.raw(), current_stream());
      };
    }));
  }
}

struct NormOperands {
  Tensor x, y, dy, gamma, beta, mean, deviation, dgamma, dbeta;
  NormOperands(std::int64_t size, std::int64_t parameters, std::int64_t statistics)
      : x(random({size})),
        y(Tensor::like(x)),
        dy(random({size}, 2)),
        gamma(random({parameters}, 3)),
        beta(random({parameters}, 4)),
        mean(Tensor::zeros({statistics})),
        deviation(Tensor::full({statistics}, 1.0f)),
        dgamma(Tensor::empty({parameters})),
        dbeta(Tensor::empty({parameters})) {}
  kernels::Affine affine() const { return {gamma.data<float>(), beta.data<float>()}; }
  template <class Statistics>
  Statistics statistics() const {
    return {mean.data<float>(), deviation.data<float>()};
  }
  kernels::NormGradients gradients() const { return {y.data<float>(), dgamma.data<float>(), dbeta.data<float>()}; }
};

void add_batch_norm(Cases& cases) {
  for (const auto& [name, s] : kImages) {
    const double n = double(s.size());
    cases.push_back(simple("batch_norm_forward_training", name, n, 12, 8, [s = s] {
      const NormOperands t(s.size(), s.channels, s.channels);
      const Scratch scratch = Scratch::of_bytes(kernels::batch_norm_workspace_bytes(s));
      return [=] {
        kernels::batch_norm_forward_training(s, 1e-5f, t.x.data<float>(), t.affine(), t.y.data<float>(),
                                             t.statistics<kernels::BatchStatistics>(), {}, scratch.raw(),
                                             current_stream());
      };
    }));
    cases.push_back(simple("batch_norm_forward_inference", name, n, 8, 2, [s = s] {
      const NormOperands t(s.size(), s.channels, s.channels);
      return [=] {
        kernels::batch_norm_forward_inference(s, t.x.data<float>(), t.affine(),
                                              t.statistics<kernels::BatchStatistics>(), t.y.data<float>(),
                                              current_stream());
      };
    }));
    cases.push_back(simple("batch_norm_backward", name, n, 20, 10, [s = s] {
      const NormOperands t(s.size(), s.channels, s.channels);
      const Scratch scratch = Scratch::of_bytes(kernels::batch_norm_workspace_bytes(s));
      return [=] {
        kernels::batch_norm_backward(s, kernels::StatisticsKind::of_batch, t.x.data<float>(), t.gamma.data<float>(),
                                     t.statistics<kernels::BatchStatistics>(), t.dy.data<float>(), t.gradients(),
                                     scratch.raw(), current_stream());
      };
    }));
  }
}

void add_layer_norm(Cases& cases) {
  for (const auto& [name, s] : kMatrices) {
    const double n = double(s.size());
    cases.push_back(simple("layer_norm_forward", name, n, 8, 8, [s = s] {
      const NormOperands t(s.size(), s.columns, s.rows);
      return [=] {
        kernels::layer_norm_forward(s, 1e-5f, t.x.data<float>(), t.affine(), t.y.data<float>(),
                                    t.statistics<kernels::RowStatistics>(), current_stream());
      };
    }));
    cases.push_back(simple("layer_norm_backward", name, n, 20, 12, [s = s] {
      const NormOperands t(s.size(), s.columns, s.rows);
      const Scratch scratch = Scratch::of_bytes(kernels::layer_norm_workspace_bytes(s));
      return [=] {
        kernels::layer_norm_backward(s, t.x.data<float>(), t.gamma.data<float>(),
                                     t.statistics<kernels::RowStatistics>(), t.dy.data<float>(), t.gradients(),
                                     scratch.raw(), current_stream());
      };
    }));
  }
}

}  // namespace

Cases reduction_cases() {
  Cases cases;
  add_matrix_sums(cases);
  add_plane_sums(cases);
  add_losses(cases);
  add_batch_norm(cases);
  add_layer_norm(cases);
  return cases;
}

}  // namespace espalier::benchmarks
