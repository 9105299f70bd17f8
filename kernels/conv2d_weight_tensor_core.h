// The weight gradient behind conv2d_tensor_core.h: dw [filters, taps * channels] = dy' [filters, pixels] * patches of
// x, k split over blocks and summed in ascending order; db [filters] = dy summed over the pixels, in slices likewise.
#pragma once
#include "kernels/conv2d_tensor_core_launch.h"
#include "kernels/conv2d_weight_sums.h"

namespace espalier::kernels::detail {

// origins [pixels + a step]: those beyond the last repeat it, so that they may be read.
template <class T>
__global__ void patch_origins_kernel(NhwcView<T> source, PixelGrid grid, index_t count, PatchOrigin* origins) {
  for_each_element(count, [&](index_t i) {
    const Odometer place(clamp_index(i, grid.pixels - 1), grid.rows, grid.columns);
    origins[i] = PatchOrigin::of(grid, place, source);
  });
}

// sums [slice, filters] = dy [pixels, filters] summed over the slice's pixels, or the slices' sums summed: eight rows
// of 32 lanes walk down the columns of a block.
template <class T>
__global__ void column_sums_kernel(index_t rows, index_t columns, index_t pitch, index_t slice_rows, index_t group,
                                   const T* dy, float* sums) {
  constexpr int kLanes = 32, kRows = 8;
  __shared__ float of_row[kRows][kLanes];
  const index_t column = index_t(blockIdx.x) * kLanes + threadIdx.x, begin = blockIdx.y * slice_rows;
  const index_t end = begin + slice_rows < rows ? begin + slice_rows : rows;
  const T* from = dy + blockIdx.z * group + column;
  float sum = 0.0f;
  for (index_t row = begin + threadIdx.y; row < end && column < columns; row += kRows)
    sum += to_float(from[row * pitch]);
  of_row[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y > 0 || column >= columns) return;
  for (int row = 1; row < kRows; ++row) sum += of_row[row][threadIdx.x];
  sums[(index_t(blockIdx.y) * gridDim.z + blockIdx.z) * columns + column] = sum;
}

inline constexpr index_t kBiasSlices = 64;

// db [groups * filters] of dy [group][pixels, pitch].
template <class T>
void bias_gradient(const NarrowView<T>& dy, index_t pixels, index_t groups, float* partial, float* db,
                   cudaStream_t stream) {
  const index_t slice = std::max<index_t>(ceil_div(pixels, kBiasSlices), 64), slices = ceil_div(pixels, slice);
  const auto launch = [&](auto from, index_t rows, index_t pitch, index_t slice_rows, index_t group, index_t columns,
                          index_t planes, float* to) {
    const dim3 grid(unsigned(ceil_div<index_t>(columns, 32)), unsigned(ceil_div(rows, slice_rows)), unsigned(planes));
    simt::launch(column_sums_kernel<std::remove_cvref_t<decltype(*from)>>,
                 {.grid = grid, .block = dim3(32, 8), .stream = stream}, rows, columns, pitch, slice_rows, group, from,
                 to);
  };
  launch(dy.data, pixels, dy.leading, slice, dy.batch_stride, dy.width, groups, slices == 1 ? db : partial);
  const float* sums = partial;
  const index_t columns = groups * dy.width;
  if (slices > 1) launch(sums, slices, columns, slices, index_t(0), columns, index_t(1), db);
}

// Sums [filter, (tap, channel)], four channels of a tap at once: as they are to `sums`, or where they belong in dw.
struct WeightStore {
  WeightPlaces to;
  float* sums;  // a split's place in the workspace, dw where it lies so, or null

  struct Four {
    index_t first_filter, sums, place;
    int count;
  };
  __device__ Four across(index_t batch, index_t column) const {
    const unsigned tap = unsigned(column) / to.padded, channel = unsigned(column) - tap * to.padded;
    const index_t left = sums != nullptr ? to.columns - column : index_t(to.channels) - channel;
    return {.first_filter = batch * to.filters,
            .sums = column,
            .place = tap * to.tap + channel * to.channel,
            .count = column < to.columns ? int(left) : 0};
  }
  __device__ void operator()(const Four& four, index_t filter, const float (&values)[4]) const {
    if (filter >= to.filters || four.count <= 0) return;
    filter += four.first_filter;
    if (sums != nullptr) return store_four(sums + filter * to.columns + four.sums, four.count, true, values);
    float* dw = to.dw + filter * to.filter + four.place;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i < four.count) dw[i * to.channel] = values[i];
    }
  }
};

// Whether four of the product's columns are four aligned neighbours in dw, always.
inline bool lies_as_product(const WeightPlaces& to) {
  const bool taps_follow = to.columns == to.channels || to.tap == to.channels;
  return to.channels == to.padded && to.channel == 1 && taps_follow && rows_aligned(to.dw, to.columns);
}

// Neighbouring sums that lie taps apart in dw are a sector each, eight times the ideal. So many of them go by way of
// the workspace instead, whole sectors there and back, as long as the second level holds both: for 512 -> 512, 3 x 3,
// at 7 x 7, batch 4, modelled 22 us instead of 28 on A100, 17 instead of 24 on H100.
inline constexpr index_t kLeastTurned = simt::kEmulated ? 1 << 10 : 1 << 20;  // fewer do not pay for a second launch

inline bool second_level_holds(index_t bytes) {  // beside as much again
  int device = 0, size = 0;
  return simt::kEmulated ||
         (cudaGetDevice(&device) == cudaSuccess &&
          cudaDeviceGetAttribute(&size, cudaDevAttrL2CacheSize, device) == cudaSuccess && 2 * bytes <= size);
}

// Floats of the workspace that sums go by where their product is not split; 0 where they go straight to dw.
inline index_t turned_floats(const Conv2dShape& s, Conv2dLayout layout, const ProductShape& product) {
  const index_t floats = product.batch * product.m * product.n;
  const bool apart = layout == Conv2dLayout::nchw && s.kernel_height * s.kernel_width > 1;
  return apart && floats >= kLeastTurned && second_level_holds(2 * floats * index_t(sizeof(float))) ? floats : 0;
}

template <class T>
struct WeightProduct {
  ProductShape shape;
  NarrowView<T> dy;
  PatchView<T> patches;
  WeightPlaces to;
  bool turned;
};

template <class Tile, class T>
void weight_product(const WeightProduct<T>& product, Workspace workspace, cudaStream_t stream) {
  using LoaderA = ChunkLoader<Tile, Side::a, T, Along::width, false>;
  using LoaderB = PatchLoader<Tile, Side::b, T>;
  const WeightPlaces& to = product.to;
  const ProductGrid grid = product_grid<Tile>(product.shape, workspace.floats);
  const bool apart = grid.splits > 1 || product.turned;
  const WeightStore store{to, apart ? workspace.data : lies_as_product(to) ? to.dw : nullptr};
  tensor_core_product<Tile, LoaderA, LoaderB>(grid, product.dy, product.patches, store, stream);
  if (apart) weight_sums(to, product.shape.batch * to.filters, grid.splits, workspace.data, stream);
}

template <class T>
void weight_gradient(const Conv2dShape& s, Conv2dLayout layout, const T* x, const NhwcView<T>& gradient, float* dw,
                     float* db, Scratch& scratch, cudaStream_t stream) {
  const index_t own = s.filters_per_group();
  const auto source = packed_images(scratch, layout, x, s.batch, s.channels, s.height, s.width, s.groups, stream);
  const PixelGrid grid = output_grid(s);
  const index_t count = grid.pixels + kStepDepth<half>;  // the deepest step
  PatchOrigin* origins = scratch.take<PatchOrigin>(count);
  float* partial = scratch.take<float>(kBiasSlices * s.filters);
  const index_t width = s.kernel_height * s.kernel_width * source.channels;
  const ProductShape shape{.m = own, .n = width, .k = grid.pixels, .batch = s.groups};
  if (scratch.counts_only()) {
    with_tile_for<T>(own, [&]<class Tile>(Tile) {
      scratch.take<float>(std::max(product_workspace_floats<Tile>(shape), turned_floats(s, layout, shape)));
    });
    return;
  }
  simt::launch(patch_origins_kernel<T>, elements_grid(count, stream), source, grid, count, origins);
  // The padding's filters are copied with the others, and their sums dropped.
  const NarrowView<T> filters{gradient.data, gradient.pixel, gradient.channels, true, gradient.group};
  const WeightProduct<T> product{shape,
                                 filters,
                                 {source, grid, origins},
                                 {.dw = dw,
                                  .filters = own,
                                  .columns = width,
                                  .padded = unsigned(source.channels),
                                  .channels = unsigned(s.channels_per_group()),
                                  .filter = s.patch(),
                                  .tap = layout == Conv2dLayout::nhwc ? s.channels_per_group() : 1,
                                  .channel = WeightStrides(s, layout).channel},
                                 turned_floats(s, layout, shape) > 0};
  with_tile_for<T>(own, [&]<class Tile>(Tile) { weight_product<Tile>(product, scratch.rest(), stream); });
  if (db == nullptr) return;
  NarrowView<T> own_filters = filters;
  own_filters.width = own;
  bias_gradient(own_filters, grid.pixels, s.groups, partial, db, stream);
}

template <class T>
void backward_weight_on_tensor_cores(const Conv2dShape& s, Conv2dLayout layout, const T* x, const T* dy, float* dw,
                                     float* db, Scratch& scratch, cudaStream_t stream) {
  weight_gradient(s, layout, x, packed_gradient(scratch, s, layout, dy, stream), dw, db, scratch, stream);
}

template <class T>
void backward_on_tensor_cores(const Conv2dShape& s, Conv2dLayout layout, const T* x, const T* dy, const T* w, float* dx,
                              float* dw, float* db, Scratch& scratch, cudaStream_t stream) {
  const NhwcView<T> gradient = packed_gradient(scratch, s, layout, dy, stream);
  input_gradient(s, layout, gradient, w, dx, scratch, stream);
  weight_gradient(s, layout, x, gradient, dw, db, scratch, stream);
}

}  // namespace espalier::kernels::detail
