// Plain loops in double: 2-D convolution and its three gradients, one multiply-add at a time.
#pragma once
#include <vector>

#include "kernels/shapes.h"

namespace espalier::test {

// visit(x index, w index, y index, filter) for every product that a convolution sums.
template <class Visit>
void for_each_conv2d_product(const kernels::Conv2dShape& s, const Visit& visit) {
  using kernels::index_t;
  for (index_t n = 0; n < s.batch; ++n) {
    for (index_t f = 0; f < s.filters; ++f) {
      const index_t group = f / s.filters_per_group();
      for (index_t oy = 0; oy < s.out_height(); ++oy) {
        for (index_t ox = 0; ox < s.out_width(); ++ox) {
          const index_t y = ((n * s.filters + f) * s.out_height() + oy) * s.out_width() + ox;
          for (index_t k = 0; k < s.patch(); ++k) {
            const index_t iy = oy * s.stride - s.padding + k / s.kernel_width % s.kernel_height * s.dilation;
            const index_t ix = ox * s.stride - s.padding + k % s.kernel_width * s.dilation;
            const index_t c = group * s.channels_per_group() + k / s.kernel_width / s.kernel_height;
            if (iy < 0 || iy >= s.height || ix < 0 || ix >= s.width) continue;
            visit(std::size_t(((n * s.channels + c) * s.height + iy) * s.width + ix), std::size_t(f * s.patch() + k),
                  std::size_t(y), std::size_t(f));
          }
        }
      }
    }
  }
}

struct Conv2dInDouble {
  std::vector<double> y, dx, dw, db;
};

// y of x, w and bias (before any activation); dx, dw and db of dy.
inline Conv2dInDouble conv2d_reference(const kernels::Conv2dShape& s, const std::vector<float>& x,
                                       const std::vector<float>& w, const std::vector<float>& bias,
                                       const std::vector<float>& dy) {
  Conv2dInDouble r{std::vector<double>(dy.size()), std::vector<double>(x.size()), std::vector<double>(w.size()),
                   std::vector<double>(bias.size())};
  const std::size_t pixels = std::size_t(s.out_height() * s.out_width());
  for (std::size_t i = 0; i < dy.size(); ++i) {
    const std::size_t filter = i / pixels % bias.size();
    r.y[i] = double(bias[filter]);
    r.db[filter] += double(dy[i]);
  }
  for_each_conv2d_product(s, [&](std::size_t i, std::size_t k, std::size_t o, std::size_t) {
    r.y[o] += double(x[i]) * double(w[k]);
    r.dx[i] += double(dy[o]) * double(w[k]);
    r.dw[k] += double(dy[o]) * double(x[i]);
  });
  return r;
}

}  // namespace espalier::test
