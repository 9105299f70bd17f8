// im2col and col2im against plain loops: the columns are copies, bit for bit, and col2im is the adjoint of im2col.
#include "kernels/im2col.h"

#include <doctest/doctest.h>

#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

// visit(index in x, index in the columns) for every element of the columns that is not padding.
template <class Visit>
void for_each_copy(const Conv2dShape& s, const Visit& visit) {
  const index_t taps = s.kernel_height * s.kernel_width, plane = s.out_height() * s.out_width();
  for (index_t entry = 0; entry < s.channels * taps; ++entry) {
    for (index_t pixel = 0; pixel < s.batch * plane; ++pixel) {
      const index_t image = pixel / plane, row = pixel % plane / s.out_width(), column = pixel % s.out_width();
      const index_t y = row * s.stride - s.padding + entry % taps / s.kernel_width * s.dilation;
      const index_t x = column * s.stride - s.padding + entry % s.kernel_width * s.dilation;
      if (y < 0 || y >= s.height || x < 0 || x >= s.width) continue;
      visit(std::size_t(((image * s.channels + entry / taps) * s.height + y) * s.width + x),
            std::size_t(entry * s.batch * plane + pixel));
    }
  }
}

void check(const Conv2dShape& s) {
  const std::vector<float> x = random_floats(std::size_t(s.input_size()), 1);
  const std::vector<float> columns = random_floats(std::size_t(im2col_size(s)), 2);
  std::vector<float> copies(columns.size(), 0.0f);
  std::vector<double> sums(x.size(), 0.0);
  for_each_copy(s, [&](std::size_t in_x, std::size_t in_columns) {
    copies[in_columns] = x[in_x];
    sums[in_x] += double(columns[in_columns]);
  });
  for (Conv2dMethod method : {Conv2dMethod::tiles, Conv2dMethod::fastest}) {
    INFO("[", s.batch, ", ", s.channels, ", ", s.height, ", ", s.width, "], kernel ", s.kernel_height, " x ",
         s.kernel_width, ", stride ", s.stride, ", padding ", s.padding, ", dilation ", s.dilation, ", method ",
         int(method));
    const GuardedBuffer<float> on_x(x), on_columns(columns);
    GuardedBuffer<float> made(columns.size()), summed(x.size());
    im2col(s, on_x.data(), made.data(), nullptr, method);
    col2im(s, on_columns.data(), summed.data(), nullptr, method);
    CHECK(made.download() == copies);
    // At most taps <= 25 additions of values below 1.
    CHECK(difference(summed.download(), sums, 0, 25 * 25 * 0x1p-24) == "");
    CHECK(made.guards_intact());
    CHECK(summed.guards_intact());
  }
}

}  // namespace

TEST_CASE("im2col: copies every patch, and col2im adds each copy back, for every option") {
  const Conv2dShape odd{.batch = 3, .channels = 2, .height = 7, .width = 11, .kernel_height = 3, .kernel_width = 2};
  const auto with = [&](auto change) {
    Conv2dShape s = odd;
    change(s);
    return s;
  };
  check({});
  check(odd);
  check(with([](Conv2dShape& s) { s.padding = 2; }));
  check(with([](Conv2dShape& s) { s.stride = 2, s.padding = 1; }));
  check(with([](Conv2dShape& s) { s.stride = 3, s.dilation = 2, s.padding = 3; }));
  check(with([](Conv2dShape& s) { s.kernel_height = 7, s.kernel_width = 11; }));
  check(with([](Conv2dShape& s) { s.kernel_height = 1, s.kernel_width = 1; }));
  check(with([](Conv2dShape& s) { s.kernel_height = 9, s.padding = 4; }));
  check(with([](Conv2dShape& s) { s.filters = 4, s.groups = 2; }));
  for (index_t width : {15, 16, 17, 33, 257}) check(with([&](Conv2dShape& s) { s.width = width; }));
  check({.batch = 2, .channels = 20, .height = 12, .width = 12, .kernel_height = 5, .kernel_width = 5});
}
