// check(): a CUDA call's status becomes an exception that names the place and the reason.
#pragma once
#include <source_location>
#include <stdexcept>

#include "kernels/require.h"
#include "kernels/simt/simt.h"

namespace espalier {

struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Throws DeviceError unless status is cudaSuccess.
void check(cudaError_t status, std::source_location where = std::source_location::current());

}  // namespace espalier
