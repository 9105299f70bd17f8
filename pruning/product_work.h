// The size of a product, whatever layer it belongs to, and what it would take on a GPU that is not here.
// The model is core/device/gpu_model.h's, at the rates that well-made kernels are known to reach:
//   dense   fp32 at 90 % of its peak, tensor cores at 75 %
//   sparse  fp32 at 80 %, one read of shared memory (`x_bytes`, 4 in fp32, at 85 %) per multiply-add and `rows_sharing`
//           rows, and x read from the second level once for every 128 rows
//   both    every operand once, at 85 % of the memory's bandwidth, or of the second level's where all of it fits there
// Code for a layer's own weights is counted as its layout was chosen (kernels/sparse/conv2d_source.h), at these rates.
// It is the speed limit of a format, not a forecast: kernels reach 50 to 70 % of it.
#pragma once
#include <cstdint>
#include <string>

#include "core/device/gpu_model.h"
#include "pruning/lowering.h"

namespace espalier::pruning {

// W [rows, columns] times `positions` columns of x: the images of a batch, times the output pixels of a convolution.
struct ProductSize {
  std::int64_t rows = 0, columns = 0, positions = 0;
  std::int64_t input_bytes = 0, output_bytes = 0;  // of x; of y, after the pool where the product takes it in
  std::int64_t weights() const { return rows * columns; }
  std::int64_t macs() const { return weights() * positions; }
};

ProductSize product_size(const RecordedCall& product);

// How one implementation goes about it.
struct ProductWork {
  bool dense = true;
  double stored = 0;        // weights that are multiplied
  double weight_bytes = 0;  // that are read of them
  double rows_sharing = 1;  // of a sparse one: rows that use one read of x
  double x_bytes = 4;       // of an element of x in that read
  Precision precision = Precision::fp32;
  int launches = 1;
};

inline constexpr double kSparseRate = 0.8;   // of the peak, for multiply-adds with kept weights
inline constexpr double kMemoryRate = 0.85;  // of the bandwidth

// So many bytes read or written once, from where they fit.
KernelWork moving(const GpuModel& gpu, double bytes);

bool has_products(const GpuModel& gpu, Precision precision);

ModelledTime modelled_time(const GpuModel& gpu, const ProductSize& size, const ProductWork& work);

// The best that any way that reads so many weights as data could do, in one launch: as rows of 4-byte values with
// 2-byte indices, or dense.
double speed_limit_us(const GpuModel& gpu, const ProductSize& size, std::int64_t nonzeros);

// Of a step that is no product: everything read and written once.
double modelled_copy_us(const GpuModel& gpu, double bytes, int launches);

// All that the time of a product depends on but the device: layer, shapes, attributes, and where its zeros are.
std::string fingerprint(const RecordedCall& product);

}  // namespace espalier::pruning
