// One block per image: its first thread draws the distortion, all of them then walk the pixels of the result.
#include "kernels/augment.h"

#include <algorithm>

#include "kernels/batch_place.h"
#include "kernels/philox.h"
#include "kernels/require.h"
#include "kernels/shapes.h"

namespace espalier::kernels {
namespace {

constexpr unsigned kThreads = simt::kEmulated ? 1 : 256;

// From a pixel of the result to a place in the image: (x, y) -> (xx x + xy y + x0, yx x + yy y + y0).
struct Distortion {
  float xx, xy, x0, yx, yy, y0;
  float erased_x, erased_y;  // corner of the square in the result
};

__device__ inline float between(float amount, std::uint32_t word) {
  return amount * (2.0f * uniform_from(word) - 1.0f);
}

__device__ Distortion draw(const GatherShape& shape, const Augmentation& amounts, RandomStream stream, index_t sample) {
  const PhiloxWords first = random_words(stream, 2 * std::uint64_t(sample));
  const PhiloxWords second = random_words(stream, 2 * std::uint64_t(sample) + 1);
  const float shift_x = between(amounts.shift, first.word[0]), shift_y = between(amounts.shift, first.word[1]);
  const float angle = between(amounts.rotation_turns, first.word[2]);
  const SineCosine turn = sine_cosine_of_turn(angle < 0.0f ? angle + 1.0f : angle);
  const float inverse = 1.0f / (1.0f + between(amounts.scale, first.word[3]));
  const float shear = between(amounts.shear, second.word[0]);
  const float width = float(shape.out_width()), height = float(shape.out_height());
  const float centre_x = 0.5f * (width - 1.0f) + shift_x, centre_y = 0.5f * (height - 1.0f) + shift_y;
  Distortion of;
  of.xx = inverse * turn.cosine, of.xy = inverse * (turn.cosine * shear + turn.sine);
  of.yx = -inverse * turn.sine, of.yy = inverse * (turn.cosine - turn.sine * shear);
  of.x0 = 0.5f * float(shape.width - 1) - of.xx * centre_x - of.xy * centre_y;
  of.y0 = 0.5f * float(shape.height - 1) - of.yx * centre_x - of.yy * centre_y;
  const float reach = float(amounts.erased - 1);  // the square may hang over by all but one of its lines
  of.erased_x = floorf(uniform_from(second.word[1]) * (width + reach)) - reach;
  of.erased_y = floorf(uniform_from(second.word[2]) * (height + reach)) - reach;
  return of;
}

struct Plane {
  const std::uint8_t* __restrict__ pixels;
  int height, width;

  __device__ float at(int y, int x) const {
    return y >= 0 && y < height && x >= 0 && x < width ? float(pixels[y * width + x]) : 0.0f;
  }
  __device__ float between(float y, float x) const {
    if (!(y > -1.0f && y < float(height) && x > -1.0f && x < float(width))) return 0.0f;
    const float top = floorf(y), left = floorf(x), down = y - top, right = x - left;
    const int i = int(top), j = int(left);
    const float above = at(i, j) + right * (at(i, j + 1) - at(i, j));
    const float below = at(i + 1, j) + right * (at(i + 1, j + 1) - at(i + 1, j));
    return above + down * (below - above);
  }
};

__device__ void distort(const Plane& plane, const Distortion& of, PixelScale scale, int erased, int out_height,
                        int out_width, float* __restrict__ out) {
  for (int i = int(threadIdx.x); i < out_height * out_width; i += int(blockDim.x)) {
    const int row = i / out_width;
    const float y = float(row), x = float(i - row * out_width);
    const bool gone =
        x >= of.erased_x && x < of.erased_x + float(erased) && y >= of.erased_y && y < of.erased_y + float(erased);
    const float byte = gone ? 0.0f : plane.between(of.yx * x + of.yy * y + of.y0, of.xx * x + of.xy * y + of.x0);
    out[i] = scale.scale * byte + scale.offset;
  }
}

__global__ void gather_augmented_kernel(GatherShape shape, PixelScale scale, Augmentation amounts, std::uint64_t seed,
                                        SampleSource source, BatchOutputs batch) {
  __shared__ Distortion drawn;
  const BatchPlace place(source);
  const int out_height = int(shape.out_height()), out_width = int(shape.out_width());
  const index_t area = shape.height * shape.width;
  for (index_t n = blockIdx.x; n < shape.batch; n += gridDim.x) {
    const index_t sample = source.order[place.first + n];
    __syncthreads();  // the image before has been written
    if (threadIdx.x == 0) {
      drawn = draw(shape, amounts, {.seed = seed, .stream = place.epoch}, sample);
      name_sample(source, batch, n, sample);
    }
    __syncthreads();
    const Distortion of = drawn;
    for (index_t c = 0; c < shape.channels; ++c) {
      const Plane plane{source.pixels + sample * shape.pixels() + c * area, int(shape.height), int(shape.width)};
      distort(plane, of, scale, amounts.erased, out_height, out_width,
              batch.images + (n * shape.channels + c) * out_height * out_width);
    }
  }
  place.leave(source, shape.batch);
}

}  // namespace

void gather_augmented(const GatherShape& shape, PixelScale scale, const Augmentation& amounts, std::uint64_t seed,
                      const SampleSource& source, const BatchOutputs& batch, cudaStream_t stream) {
  require_valid(shape, "gather_augmented");
  constexpr index_t kSide = 1 << 14;  // a float counts the pixels of a line exactly, an int those of an image
  require(shape.out_height() <= kSide && shape.out_width() <= kSide, "gather_augmented: images of ", shape.out_height(),
          " x ", shape.out_width(), "; at most ", kSide, " pixels a side");
  require(amounts.shift >= 0 && amounts.rotation_turns >= 0 && amounts.rotation_turns < 0.5f && amounts.scale >= 0 &&
              amounts.scale < 1 && amounts.shear >= 0 && amounts.erased >= 0,
          "gather_augmented: shift ", amounts.shift, ", rotation ", amounts.rotation_turns, " turns, scale ",
          amounts.scale, ", shear ", amounts.shear, ", erased ", amounts.erased,
          "; none may be negative, the rotation must be below 0.5 and the scale below 1");
  const unsigned blocks = unsigned(std::min<index_t>(shape.batch, 1 << 16));
  simt::launch(gather_augmented_kernel, simt::Launch{dim3(blocks), dim3(kThreads), 0, stream}, shape, scale, amounts,
               seed, source, batch);
}

}  // namespace espalier::kernels
