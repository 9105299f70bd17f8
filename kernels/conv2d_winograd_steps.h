// The four steps of conv2d_winograd.h as launchers, and how they cut a chunk of the batch.
#pragma once
#include "kernels/conv2d_winograd.h"

namespace espalier::kernels {

// A chunk of images in device integers. A line is a row of tiles of an image; tiles are numbered line by line.
struct WinogradChunk {
  int height = 1, width = 1, out_height = 1, out_width = 1, padding = 0;  // of planes of source and result
  int down = 1, across = 1;                                               // tiles of an image
  int channels = 1, filters = 1;
  index_t images = 1;
  index_t pitch = 32;  // floats from a row of v and m to the next: all tiles, in whole cache lines

  WinogradChunk(const WinogradProblem& problem, index_t images);
  __host__ __device__ index_t lines() const { return images * down; }
};

// The floats between two filters of u, and two rows of v: whole cache lines.
constexpr index_t winograd_pitch(index_t width) { return (width + 31) / 32 * 32; }

// u [36, channels, pitch of the filters]
void winograd_weights(const WinogradProblem& problem, const float* w, float* u, cudaStream_t stream);
// v [36, channels, pitch]
void winograd_source(const WinogradChunk& chunk, const float* x, float* v, cudaStream_t stream);
// m [36, filters, pitch]
void winograd_product(const WinogradChunk& chunk, const float* u, const float* v, float* m, cudaStream_t stream);
void winograd_result(const WinogradChunk& chunk, const float* m, const float* bias, float slope, float* y,
                     cudaStream_t stream);

}  // namespace espalier::kernels
