// The whole set is uploaded once as bytes (47 MB for MNIST); the normalisation is folded into the gather kernel.
// Mean and deviation come from exact integer sums over the training split alone, validation samples left out.
#include "core/data/image_data.h"

#include <cmath>
#include <memory>
#include <numeric>

#include "core/data/shuffle.h"
#include "core/device/stream.h"
#include "kernels/require.h"

namespace espalier::data {
namespace {

constexpr float kMinMaxLow = 0.001f;

class DeviceImages final : public Dataset {
 public:
  DeviceImages(const ImageBytes& images, std::int64_t classes, std::int64_t padding, Normalisation normalisation)
      : classes_(classes), labels_(Tensor::from({std::int64_t(images.labels.size())}, images.labels)) {
    pixels_ = Tensor::from({labels_.size(), 1, images.height, images.width}, images.pixels);
    shape_ = {1, 1, images.height, images.width, padding};
    scale_ = {1.0f / (255.0f * normalisation.deviation), -normalisation.mean / normalisation.deviation};
  }
  std::int64_t size() const override { return labels_.size(); }
  std::int64_t classes() const override { return classes_; }
  Shape image_shape() const override { return {shape_.channels, shape_.out_height(), shape_.out_width()}; }

  void gather(const BatchRequest& request, const Batch& batch) const override {
    kernels::GatherShape shape = shape_;
    shape.batch = batch.size();
    require(request.cursor || (request.first >= 0 && request.first + shape.batch <= request.order.size()),
            "gather: samples ", request.first, " to ", request.first + shape.batch, " of ", request.order.size());
    require(batch.images.size() == shape.output_size(), "gather: the buffer for images has shape ",
            batch.images.shape().to_string(), ", a batch of ", shape.batch, " needs ", shape.output_size(), " floats");
    const kernels::SampleSource source{.pixels = pixels_.data<std::uint8_t>(),
                                       .labels = labels_.data<std::uint8_t>(),
                                       .order = request.order.data<std::int32_t>(),
                                       .first = request.first,
                                       .epoch = request.epoch,
                                       .cursor = request.cursor};
    kernels::BatchOutputs outputs{batch.images.data<float>(), batch.labels.data<std::int32_t>()};
    if (batch.samples.defined()) outputs.samples = batch.samples.data<std::int32_t>();
    if (request.augmentation.any()) {
      kernels::gather_augmented(shape, scale_, request.augmentation, request.seed, source, outputs, current_stream());
    } else {
      kernels::gather_batch(shape, scale_, source, outputs, current_stream());
    }
  }

 private:
  std::int64_t classes_;
  Tensor pixels_;  // u8 [N, 1, H, W]
  Tensor labels_;  // u8 [N]
  kernels::GatherShape shape_;
  kernels::PixelScale scale_;
};

Normalisation standardise(const ImageBytes& images, const std::vector<std::int32_t>& members) {
  const std::size_t pixels = std::size_t(images.height * images.width);
  std::uint64_t sum = 0, squares = 0;
  for (const std::int32_t member : members) {
    const std::uint8_t* const image = images.pixels.data() + std::size_t(member) * pixels;
    std::uint32_t image_sum = 0, image_squares = 0;  // 32 bits hold 66,000 pixels and vectorise
    for (std::size_t i = 0; i < pixels; ++i) {
      image_sum += image[i];
      image_squares += std::uint32_t(image[i]) * image[i];
    }
    sum += image_sum, squares += image_squares;
  }
  const double count = double(members.size()) * double(pixels), mean = double(sum) / count;
  const double deviation = std::sqrt(std::max(double(squares) / count - mean * mean, 0.0));
  return {float(mean / 255), deviation > 0 ? float(deviation / 255) : 1.0f};
}

void check_set(const std::string& name, const char* role, const ImageBytes& images, std::int64_t classes) {
  const std::size_t count = images.labels.size();
  require(count >= 1 && count < (std::size_t(1) << 31), name, ": ", count, " ", role, " samples");
  require(images.height >= 1 && images.width >= 1 && images.height * images.width <= (1 << 16), name, ": ", role,
          " images are ", images.height, " x ", images.width, "; 1 to 65536 pixels are possible");
  require(images.pixels.size() == count * std::size_t(images.height * images.width), name, ": ", count, " ", role,
          " labels, but ", images.pixels.size(), " pixels");
  for (std::size_t i = 0; i < count; ++i) {
    require(images.labels[i] < classes, name, ": ", role, " label ", i, " is ", int(images.labels[i]),
            ", but there are ", classes, " classes");
  }
}

std::vector<std::int32_t> all(std::size_t count) {
  std::vector<std::int32_t> indices(count);
  std::iota(indices.begin(), indices.end(), 0);
  return indices;
}

}  // namespace

ImageData image_data(std::string name, const ImageBytes& train, const ImageBytes& test, std::int64_t classes,
                     const Options& options) {
  check_set(name, "training", train, classes);
  check_set(name, "test", test, classes);
  require(train.height == test.height && train.width == test.width, name, ": training images are ", train.height, " x ",
          train.width, ", test images ", test.height, " x ", test.width);
  const std::int64_t available = std::int64_t(train.labels.size());
  require(options.validation >= 0 && options.validation < available, name, ": ", options.validation,
          " validation samples were asked for, ", available, " training samples are there");

  std::vector<std::int32_t> members = all(train.labels.size()), held_out;
  if (options.validation > 0) {
    members = shuffled(available, options.seed, 0);
    held_out.assign(members.end() - options.validation, members.end());
    members.resize(members.size() - std::size_t(options.validation));
  }
  Normalisation normalisation{-kMinMaxLow / (1 - kMinMaxLow), 1 / (1 - kMinMaxLow)};
  if (options.normalisation)
    normalisation = *options.normalisation;
  else if (options.scaling == Scaling::standard)
    normalisation = standardise(train, members);

  const auto train_set = std::make_shared<DeviceImages>(train, classes, options.padding, normalisation);
  const auto test_set = std::make_shared<DeviceImages>(test, classes, options.padding, normalisation);
  return {std::move(name), normalisation, TrainSplit(Samples(train_set, std::move(members))),
          ValidationSplit(Samples(train_set, std::move(held_out))),
          TestSplit(Samples(test_set, all(test.labels.size())))};
}

}  // namespace espalier::data
