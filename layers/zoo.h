// Models with names, each for any image size that its windows fit: what the command line trains and the benchmarks run.
//   seed-cnn       Conv 32 3x3, ReLU, MaxPool 2, Conv 64 3x3, ReLU, MaxPool 2, Dense 64, ReLU, Dropout 0.2, Dense;
//                  121,930 parameters for MNIST
//   lenet-5        Conv 20 5x5, MaxPool 2, Conv 50 5x5, MaxPool 2, Dense 500, ReLU, Dense: 431,080 parameters (LeCun et
//                  al. 1998, in the sizes that came with Caffe)
//   lenet-5-relu   the same with a ReLU after each convolution, as sparse variational dropout and L0 measured it
//                  (Molchanov et al., arXiv 1701.05369; Louizos et al., arXiv 1712.01312)
//   lenet-300-100  Dense 300, ReLU, Dense 100, ReLU, Dense: 266,610 parameters
//   resnet-small   Conv 16, three residual blocks of 16, 32 and 64 channels with batch norm, average, Dense: 77,754
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "layers/sequential.h"

namespace espalier::zoo {

const std::vector<std::string_view>& names();

// image: [C, H, W] of one image. Throws InvalidArgument for an unknown name (listing the known) or a too small image.
Sequential build(std::string_view name, const Shape& image, std::uint64_t seed = 1, std::int64_t classes = 10);

}  // namespace espalier::zoo
