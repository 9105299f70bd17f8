// An epoch's order is uploaded once (4 bytes per sample); each batch is then one launch, which finds its place in
// device memory, and no copy.
#include "core/data/loader.h"

#include <algorithm>
#include <span>

#include "core/data/shuffle.h"
#include "kernels/require.h"

namespace espalier {

DataLoader::DataLoader(TrainSplit split, LoaderOptions options) : samples_(split.samples()), options_(options) {
  require(samples_.size() >= 1, "DataLoader: the training split has no samples");
  require(options_.batch >= 1, "DataLoader: a batch of ", options_.batch, " samples");
  require(!options_.drop_last || samples_.size() >= options_.batch, "DataLoader: ", samples_.size(),
          " samples make no full batch of ", options_.batch, "; take a smaller batch or keep the last one");
}

std::int64_t DataLoader::batches() const {
  return (samples_.size() + (options_.drop_last ? 0 : options_.batch - 1)) / options_.batch;
}

void DataLoader::seek(LoaderPosition position) {
  require(position.epoch >= 0 && position.position >= 0 && position.position < batches(), "DataLoader: batch ",
          position.position, " of epoch ", position.epoch, "; an epoch has ", batches(), " batches");
  position_ = position;
}

std::int64_t DataLoader::next_size() const {
  return std::min(options_.batch, samples_.size() - position_.position * options_.batch);
}

Batch DataLoader::next() {
  Batch batch = Batch::empty(next_size(), image_shape());
  next_into(batch);
  return batch;
}

void DataLoader::next_into(const Batch& buffers) {
  require(buffers.size() == next_size(), "DataLoader: a buffer for ", buffers.size(), " samples, the next batch has ",
          next_size());
  gather(buffers);
  advance();
}

void DataLoader::stage() {
  write_order();
  const kernels::BatchCursor wanted{position_.position * options_.batch, std::uint64_t(position_.epoch)};
  if (cursor_.defined() && on_device_.first == wanted.first && on_device_.epoch == wanted.epoch) return;
  if (!cursor_.defined()) cursor_ = Tensor::empty({sizeof(wanted)}, DType::u8);
  cursor_.upload(std::as_bytes(std::span(&wanted, 1)));
  on_device_ = wanted;
}

void DataLoader::write_order() {
  if (ordered_epoch_ == position_.epoch || (!options_.shuffle && order_.defined())) return;
  std::vector<std::int32_t> order = samples_.indices();
  if (options_.shuffle) {
    order = data::shuffled(samples_.size(), options_.seed, std::uint64_t(position_.epoch));
    for (std::int32_t& index : order) index = samples_.indices()[std::size_t(index)];
  }
  if (!order_.defined()) order_ = Tensor::empty({samples_.size()}, DType::i32);
  order_.upload(std::as_bytes(std::span(order)));
  ordered_epoch_ = position_.epoch;
}

void DataLoader::enqueue(const Batch& buffers) const {
  samples_.dataset().gather({.order = order_,
                             .cursor = static_cast<kernels::BatchCursor*>(cursor_.raw()),
                             .augmentation = options_.augmentation,
                             .seed = options_.seed},
                            buffers);
}

void DataLoader::count_as_taken() {
  on_device_.first += next_size();
  advance();
}

void DataLoader::gather(const Batch& into) {
  stage();
  enqueue(into);
  on_device_.first += into.size();
}

void DataLoader::advance() {
  if (++position_.position == batches()) position_ = {position_.epoch + 1, 0};
}

DataLoader::Iterator::Iterator(DataLoader& loader) : loader_(&loader), epoch_(loader.position_.epoch) {
  batch_ = Batch::empty(loader.next_size(), loader.image_shape());
  loader.gather(batch_);
}

DataLoader::Iterator& DataLoader::Iterator::operator++() {
  loader_->advance();
  batch_ = Batch();
  if (*this == std::default_sentinel) return *this;
  batch_ = Batch::empty(loader_->next_size(), loader_->image_shape());
  loader_->gather(batch_);
  return *this;
}

}  // namespace espalier
