// Cutting a workspace into arrays. The same walk through take() without memory counts what it needs, so that a launcher
// and the function that sizes its workspace cannot disagree.
#pragma once
#include "kernels/shapes.h"

namespace espalier::kernels {

class Scratch {
 public:
  explicit Scratch(Workspace workspace) : workspace_(workspace) {}

  bool counts_only() const { return workspace_.data == nullptr; }
  index_t used() const { return used_; }  // floats

  // `count` elements of T, on cache lines of their own.
  template <class T>
  T* take(index_t count) {
    float* piece = counts_only() ? nullptr : workspace_.data + used_;
    used_ += (count * index_t(sizeof(T)) + 127) / 128 * 32;
    return reinterpret_cast<T*>(piece);
  }
  Workspace rest() const {
    const index_t left = counts_only() ? 0 : workspace_.floats - used_;
    return left > 0 ? Workspace{workspace_.data + used_, left} : Workspace{};
  }

 private:
  Workspace workspace_;
  index_t used_ = 0;
};

}  // namespace espalier::kernels
