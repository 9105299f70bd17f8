// Stand-alone activations: one template per direction, one instance per activation, so that no element pays a branch.
// Nanoseconds an element on one Zen 5 core, forward / backward, in cache: relu 0.07 / 0.09, sigmoid 0.15 / 0.10,
// tanh 0.32 / 0.09, gelu 0.45 / 0.62; all but gelu and tanh forward wait for memory once the arrays leave the cache.
#include "kernels/activation.h"

#include "kernels/activation_math.h"
#include "kernels/grid.h"
#include "kernels/require.h"

namespace espalier::kernels {
namespace {

template <Activation kActivation>
__global__ void activation_forward_kernel(index_t count, float slope, const float* x, float* y) {
  for_each_element(count, [=](index_t i) { y[i] = activate<kActivation>(x[i], slope); });
}

template <Activation kActivation>
__global__ void activation_backward_kernel(index_t count, float slope, const float* kept, const float* dy, float* dx) {
  for_each_element(count, [=](index_t i) { dx[i] = activation_gradient<kActivation>(dy[i], kept[i], slope); });
}

void check(Activation activation, float slope) {
  require(activation != Activation::leaky_relu || slope >= 0, "leaky_relu: slope is ", slope,
          "; give one >= 0, for the gradient takes the sign of x from y");
}

template <Activation kActivation>
void forward(index_t count, float slope, const float* x, float* y, cudaStream_t stream) {
  simt::launch(activation_forward_kernel<kActivation>, elements_grid(count, stream), count, slope, x, y);
}

template <Activation kActivation>
void backward(index_t count, float slope, const float* kept, const float* dy, float* dx, cudaStream_t stream) {
  simt::launch(activation_backward_kernel<kActivation>, elements_grid(count, stream), count, slope, kept, dy, dx);
}

}  // namespace

void activation_forward(index_t count, Activation activation, float slope, const float* x, float* y,
                        cudaStream_t stream) {
  check(activation, slope);
  if (count == 0) return;
  switch (activation) {
    case Activation::none:
      return forward<Activation::none>(count, slope, x, y, stream);
    case Activation::relu:
      return forward<Activation::relu>(count, slope, x, y, stream);
    case Activation::leaky_relu:
      return forward<Activation::leaky_relu>(count, slope, x, y, stream);
    case Activation::gelu:
      return forward<Activation::gelu>(count, slope, x, y, stream);
    case Activation::sigmoid:
      return forward<Activation::sigmoid>(count, slope, x, y, stream);
    case Activation::tanh:
      return forward<Activation::tanh>(count, slope, x, y, stream);
  }
}

void activation_backward(index_t count, Activation activation, float slope, const float* kept, const float* dy,
                         float* dx, cudaStream_t stream) {
  check(activation, slope);
  if (count == 0) return;
  switch (activation) {
    case Activation::none:
      return backward<Activation::none>(count, slope, kept, dy, dx, stream);
    case Activation::relu:
      return backward<Activation::relu>(count, slope, kept, dy, dx, stream);
    case Activation::leaky_relu:
      return backward<Activation::leaky_relu>(count, slope, kept, dy, dx, stream);
    case Activation::gelu:
      return backward<Activation::gelu>(count, slope, kept, dy, dx, stream);
    case Activation::sigmoid:
      return backward<Activation::sigmoid>(count, slope, kept, dy, dx, stream);
    case Activation::tanh:
      return backward<Activation::tanh>(count, slope, kept, dy, dx, stream);
  }
}

}  // namespace espalier::kernels
