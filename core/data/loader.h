// Batches of a training split, shuffled anew each epoch:
//   DataLoader train(data::mnist("data/mnist").train, {.batch = 128, .shuffle = true, .seed = 1});
//   for (const Batch& batch : train) ...                       // one epoch
// The order is a function of (seed, epoch) alone, so a loader put back to a saved position goes on as if never stopped.
#pragma once
#include <cstddef>
#include <cstdint>
#include <iterator>

#include "core/data/split.h"

namespace espalier {

struct LoaderOptions {
  std::int64_t batch = 128;
  bool shuffle = true;
  std::uint64_t seed = 1;
  bool drop_last = false;          // leave out the smaller batch at the end of an epoch
  Augmentation augmentation = {};  // distorts every image anew in each epoch, as (seed, epoch, image) decide
};

// Where a loader stands: `position` batches of `epoch` have been taken.
struct LoaderPosition {
  std::int64_t epoch = 0, position = 0;
  bool operator==(const LoaderPosition&) const = default;
};

class DataLoader {
 public:
  explicit DataLoader(TrainSplit split, LoaderOptions options = {});

  const LoaderOptions& options() const { return options_; }
  Shape image_shape() const { return samples_.dataset().image_shape(); }
  std::int64_t classes() const { return samples_.dataset().classes(); }
  std::int64_t samples() const { return samples_.size(); }
  std::int64_t batches() const;  // in an epoch

  LoaderPosition position() const { return position_; }
  void seek(LoaderPosition position);

  // The next batch; after the last one of an epoch the next epoch begins.
  Batch next();
  std::int64_t next_size() const;        // samples of the batch that next() would give
  void next_into(const Batch& buffers);  // the same into memory that stays where it is

  // next_into() in three parts, of which the second may be captured: each replay then takes the batch after the last.
  void stage();                              // before each: waits where an epoch begins or after seek()
  void enqueue(const Batch& buffers) const;  // of next_size()
  void count_as_taken();                     // after each

  // What is left of the current epoch. A batch counts as taken when the loop moves on; a loop left by `break` is gone
  // on with by the next loop, and begin()->images looks at the coming batch without taking it.
  class Iterator {
   public:
    using value_type = Batch;
    using difference_type = std::ptrdiff_t;
    using iterator_category = std::input_iterator_tag;
    using pointer = const Batch*;
    using reference = const Batch&;
    const Batch& operator*() const { return batch_; }
    const Batch* operator->() const { return &batch_; }
    Iterator& operator++();
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return loader_->position_.epoch != epoch_; }

   private:
    friend class DataLoader;
    explicit Iterator(DataLoader& loader);
    DataLoader* loader_;
    std::int64_t epoch_;
    Batch batch_;
  };
  Iterator begin() { return Iterator(*this); }
  std::default_sentinel_t end() const { return {}; }

 private:
  void gather(const Batch& into);
  void advance();
  void write_order();

  Samples samples_;
  LoaderOptions options_;
  LoaderPosition position_;
  std::int64_t ordered_epoch_ = -1;  // whose order is on the device
  Tensor order_;                     // i32 [samples]
  Tensor cursor_;                    // u8, a kernels::BatchCursor
  kernels::BatchCursor on_device_;   // what it holds once all is done that was enqueued
};

}  // namespace espalier
