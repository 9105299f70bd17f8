// A struct in device memory that kernels read and change, and the host only where it must.
#pragma once
#include <cstring>
#include <span>
#include <vector>

#include "core/tensor/tensor.h"

namespace espalier {

template <class State>
class DeviceState {
 public:
  explicit DeviceState(const State& state) : bytes_(Tensor::from_bytes({sizeof(State)}, DType::u8, bytes_of(state))) {}
  State* get() const { return static_cast<State*>(bytes_.raw()); }  // for launchers
  State read() const {                                              // waits for current_stream()
    State state;
    const std::vector<std::byte> bytes = bytes_.to_host_bytes();
    std::memcpy(&state, bytes.data(), sizeof(State));
    return state;
  }
  void write(const State& state) const { bytes_.upload(bytes_of(state)); }

 private:
  static std::span<const std::byte> bytes_of(const State& state) { return std::as_bytes(std::span(&state, 1)); }
  Tensor bytes_;
};

}  // namespace espalier
