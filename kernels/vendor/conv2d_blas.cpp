// The columns of a few images at a time, one product of all their pixels per group: rows of the product then are as
// long as OpenBLAS and cuBLAS like them. Its filters lie outermost, networks keep images outermost: swap_outer_axes().
#include "kernels/vendor/conv2d.h"

#include <algorithm>

#include "kernels/grid.h"
#include "kernels/im2col.h"
#include "kernels/require.h"
#include "kernels/vendor/blas.h"

namespace espalier::kernels::vendor {
namespace {

// Floats of columns at a time: the CPU's should stay in the last-level cache, a GPU's should fill it with blocks.
constexpr index_t kColumnFloats = simt::kEmulated ? 1 << 20 : 1 << 24;

constexpr index_t kAlignment = 64;  // cuBLAS wants its workspace at a multiple of 256 bytes

bool by_blas(Conv2dProduct product) { return product == Conv2dProduct::blas || !simt::kEmulated; }

// One image's share of the workspace: its columns, its y or dy with filters outermost.
struct ImageFloats {
  index_t columns, planes;
  explicit ImageFloats(Conv2dShape s) : planes(s.filters * s.out_height() * s.out_width()) {
    s.batch = 1;
    columns = im2col_size(s);
  }
  index_t all() const { return columns + planes; }
};

// The workspace cut for `images` at a time, and the rest of it for the product.
struct Cut {
  index_t images;
  float *columns, *planes;
  Workspace rest;

  Cut(const Conv2dShape& shape, Workspace workspace, const char* caller) {
    const ImageFloats image(shape);
    require(workspace.floats >= image.all(), caller, ": a workspace of ", workspace.floats, " floats; one image needs ",
            image.all(), ", conv2d_workspace_floats() is best");
    images = std::min(shape.batch, workspace.floats / image.all());
    columns = workspace.data;
    planes = columns + images * image.columns;
    const index_t used = ceil_div(images * image.all(), kAlignment) * kAlignment;
    if (used < workspace.floats) rest = {workspace.data + used, workspace.floats - used};
  }
};

index_t images_at_a_time(const Conv2dShape& shape) {
  return std::clamp<index_t>(kColumnFloats / ImageFloats(shape).all(), 1, shape.batch);
}

// The product of one group over `images` images, rows x columns x depth by direction.
GemmShape product_shape(const Conv2dShape& s, Conv2dDirection direction, index_t images) {
  const index_t pixels = images * s.out_height() * s.out_width();
  if (direction == Conv2dDirection::forward) return {.m = s.filters_per_group(), .n = pixels, .k = s.patch()};
  if (direction == Conv2dDirection::input) return {.m = s.patch(), .n = pixels, .k = s.filters_per_group()};
  return {.m = s.filters_per_group(), .n = s.patch(), .k = pixels};
}

// body(shape of the images, first image) for the batch, `images` at a time.
template <class Body>
void for_each_chunk(const Conv2dShape& shape, index_t images, const Body& body) {
  Conv2dShape chunk = shape;
  for (index_t first = 0; first < shape.batch; first += images) {
    chunk.batch = std::min(images, shape.batch - first);
    body(chunk, first);
  }
}

void multiply(const Conv2dShape& s, const Cut& cut, const float* w, const float* bias, Activation activation,
              float leaky_slope, float* to, cudaStream_t stream) {
  const GemmShape product = product_shape(s, Conv2dDirection::forward, s.batch);
  for (index_t group = 0; group < s.groups; ++group) {
    const GemmEpilogue epilogue{.bias = bias == nullptr ? nullptr : bias + group * product.m,
                                .bias_axis = BiasAxis::row,
                                .activation = activation,
                                .leaky_slope = leaky_slope};
    vendor::gemm(product, Transpose::no, Transpose::no, w + group * product.m * product.k,
                 cut.columns + group * product.k * product.n, to + group * product.m * product.n, epilogue, stream,
                 cut.rest);
  }
}

}  // namespace

index_t conv2d_workspace_floats(const Conv2dShape& shape, Conv2dDirection direction, Conv2dProduct product) {
  require_valid(shape, "vendor conv2d");
  if (!by_blas(product)) return direction == Conv2dDirection::weight ? conv2d_backward_weight_workspace(shape) : 0;
  const index_t images = images_at_a_time(shape);
  const auto bias = index_t(conv2d_backward_bias_workspace_bytes(shape) / sizeof(float)) + 1;
  return std::max(images * ImageFloats(shape).all() + kAlignment +
                      vendor::gemm_workspace_floats(product_shape(shape, direction, images)),
                  bias);
}

void conv2d_forward(const Conv2dShape& shape, const float* x, const float* w, const float* bias, float* y,
                    Activation activation, float leaky_slope, Workspace workspace, cudaStream_t stream,
                    Conv2dProduct product) {
  require_valid(shape, "vendor conv2d_forward");
  if (!by_blas(product)) {
    return kernels::conv2d_forward(shape, x, w, bias, y, activation, stream, Conv2dMethod::fastest, leaky_slope);
  }
  const Cut cut(shape, workspace, "vendor conv2d_forward");
  const index_t plane = shape.out_height() * shape.out_width(), image = shape.channels * shape.height * shape.width;
  for_each_chunk(shape, cut.images, [&](const Conv2dShape& chunk, index_t first) {
    float* to = y + first * shape.filters * plane;
    im2col(chunk, x + first * image, cut.columns, stream);
    if (chunk.batch == 1) return multiply(chunk, cut, w, bias, activation, leaky_slope, to, stream);
    multiply(chunk, cut, w, bias, activation, leaky_slope, cut.planes, stream);
    swap_outer_axes(shape.filters, chunk.batch, plane, cut.planes, to, stream);
  });
}

void conv2d_backward_input(const Conv2dShape& shape, const float* dy, const float* w, float* dx, Workspace workspace,
                           cudaStream_t stream, Conv2dProduct product) {
  require_valid(shape, "vendor conv2d_backward_input");
  if (!by_blas(product)) return kernels::conv2d_backward_input(shape, dy, w, dx, stream);
  const Cut cut(shape, workspace, "vendor conv2d_backward_input");
  const index_t plane = shape.out_height() * shape.out_width(), image = shape.channels * shape.height * shape.width;
  for_each_chunk(shape, cut.images, [&](const Conv2dShape& chunk, index_t first) {
    swap_outer_axes(chunk.batch, shape.filters, plane, dy + first * shape.filters * plane, cut.planes, stream);
    const GemmShape of_group = product_shape(chunk, Conv2dDirection::input, chunk.batch);
    for (index_t group = 0; group < shape.groups; ++group) {
      vendor::gemm(of_group, Transpose::yes, Transpose::no, w + group * of_group.m * of_group.k,
                   cut.planes + group * of_group.k * of_group.n, cut.columns + group * of_group.m * of_group.n, {},
                   stream, cut.rest);
    }
    col2im(chunk, cut.columns, dx + first * image, stream);
  });
}

void conv2d_backward_weight(const Conv2dShape& shape, const float* x, const float* dy, float* dw, float* db,
                            Workspace workspace, cudaStream_t stream, Conv2dProduct product) {
  require_valid(shape, "vendor conv2d_backward_weight");
  if (!by_blas(product)) return kernels::conv2d_backward_weight(shape, x, dy, dw, db, workspace, stream);
  const Cut cut(shape, workspace, "vendor conv2d_backward_weight");
  const index_t plane = shape.out_height() * shape.out_width(), image = shape.channels * shape.height * shape.width;
  if (db != nullptr) {
    require(index_t(conv2d_backward_bias_workspace_bytes(shape)) <= workspace.floats * index_t(sizeof(float)),
            "vendor conv2d_backward_weight: a workspace of ", workspace.floats,
            " floats is too small for the bias; conv2d_workspace_floats() is best");
    conv2d_backward_bias(shape, dy, db, workspace.data, stream);
  }
  for_each_chunk(shape, cut.images, [&](const Conv2dShape& chunk, index_t first) {
    im2col(chunk, x + first * image, cut.columns, stream);
    swap_outer_axes(chunk.batch, shape.filters, plane, dy + first * shape.filters * plane, cut.planes, stream);
    const GemmShape of_group = product_shape(chunk, Conv2dDirection::weight, chunk.batch);
    for (index_t group = 0; group < shape.groups; ++group) {
      vendor::gemm(of_group, Transpose::no, Transpose::yes, cut.planes + group * of_group.m * of_group.k,
                   cut.columns + group * of_group.n * of_group.k, dw + group * of_group.m * of_group.n,
                   {.beta = first == 0 ? 0.0f : 1.0f}, stream, cut.rest);
    }
  });
}

}  // namespace espalier::kernels::vendor
