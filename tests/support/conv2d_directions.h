// The three directions of a convolution, each beside plain loops in double, by every method that the build has.
#pragma once
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "kernels/conv2d.h"
#include "kernels/conv2d_stencil.h"
#include "tests/support/close.h"
#include "tests/support/conv2d_problem.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/reference/conv2d.h"

namespace espalier::test {

using kernels::Activation;
using kernels::Conv2dMethod;
using kernels::Conv2dShape;
using kernels::index_t;
using kernels::StencilUse;

inline bool computes(Conv2dMethod method, const Conv2dShape& s, StencilUse use) {
  return method == Conv2dMethod::panels ? simt::kEmulated : method != Conv2dMethod::stencil || suits_stencil(s, use);
}

inline constexpr Conv2dMethod kConv2dMethods[] = {Conv2dMethod::tiles, Conv2dMethod::direct, Conv2dMethod::stencil,
                                                  Conv2dMethod::panels};

// Those that compute all directions.
inline std::vector<Conv2dMethod> methods(const Conv2dShape& s) {
  std::vector<Conv2dMethod> all;
  for (Conv2dMethod method : kConv2dMethods) {
    if (computes(method, s, StencilUse::forward) && computes(method, s, StencilUse::input_gradient) &&
        computes(method, s, StencilUse::weight_gradient)) {
      all.push_back(method);
    }
  }
  return all;
}

struct Conv2dCase {
  Conv2dShape shape;
  std::vector<float> x, w, bias, dy;
  Conv2dInDouble expected;

  explicit Conv2dCase(const Conv2dShape& s)
      : shape(s),
        x(random_floats(std::size_t(s.input_size()), 1)),
        w(random_floats(std::size_t(s.weight_size()), 2)),
        bias(random_floats(std::size_t(s.filters), 3)),
        dy(random_floats(std::size_t(s.output_size()), 4)),
        expected(conv2d_reference(s, x, w, bias, dy)) {}
};

inline std::vector<float> forward(const Conv2dCase& p, Conv2dMethod method, Activation activation, bool with_bias) {
  const GuardedBuffer<float> x(p.x), w(p.w), bias(p.bias);
  GuardedBuffer<float> y(p.dy.size());
  conv2d_forward(p.shape, x.data(), w.data(), with_bias ? bias.data() : nullptr, y.data(), activation, nullptr, method);
  CHECK(y.guards_intact());
  return y.download();
}

inline std::vector<float> backward_input(const Conv2dCase& p, Conv2dMethod method) {
  const GuardedBuffer<float> dy(p.dy), w(p.w);
  GuardedBuffer<float> dx(p.x.size());
  conv2d_backward_input(p.shape, dy.data(), w.data(), dx.data(), nullptr, method);
  CHECK(dx.guards_intact());
  return dx.download();
}

struct WeightGradient {
  std::vector<float> dw, db;
};

inline WeightGradient backward_weight(const Conv2dCase& p, Conv2dMethod method, bool with_bias,
                                      index_t workspace_floats) {
  const GuardedBuffer<float> x(p.x), dy(p.dy);
  GuardedBuffer<float> dw(p.w.size()), db(p.bias.size()), workspace{std::size_t(workspace_floats)};
  conv2d_backward_weight(p.shape, x.data(), dy.data(), dw.data(), with_bias ? db.data() : nullptr,
                         {workspace.data(), workspace_floats}, nullptr, method);
  CHECK(dw.guards_intact());
  CHECK(db.guards_intact());
  CHECK(workspace.guards_intact());
  return {dw.download(), with_bias ? db.download() : std::vector<float>()};
}

inline void check_all_directions(const Conv2dShape& s) {
  const Conv2dCase p(s);
  const index_t pixels = s.batch * s.out_height() * s.out_width();
  for (Conv2dMethod method : kConv2dMethods) {
    if (method == Conv2dMethod::direct && s.weight_size() > 3000) continue;  // a block a weight: slow on a CPU
    INFO(text(s), ", method ", int(method));
    if (computes(method, s, StencilUse::forward)) {
      CHECK(norm_error(forward(p, method, Activation::none, true), p.expected.y) < tolerance(s.patch() + 1));
    }
    if (computes(method, s, StencilUse::input_gradient)) {
      CHECK(norm_error(backward_input(p, method), p.expected.dx) < tolerance(s.patch() * s.filters / s.channels));
    }
    if (!computes(method, s, StencilUse::weight_gradient)) continue;
    const WeightGradient split = backward_weight(p, method, true, conv2d_backward_weight_workspace(s, method));
    CHECK(norm_error(split.dw, p.expected.dw) < tolerance(pixels));
    CHECK(norm_error(split.db, p.expected.db) < tolerance(pixels));
    const WeightGradient whole = backward_weight(p, method, false, 0);
    CHECK(norm_error(whole.dw, p.expected.dw) < tolerance(pixels));
  }
}

}  // namespace espalier::test
