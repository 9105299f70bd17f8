#include "core/device/error.h"

#include <fmt/format.h>

namespace espalier {

void check(cudaError_t status, std::source_location where) {
  if (status == cudaSuccess) return;
  throw DeviceError(fmt::format("{} ({}) in {} at {}:{}", cudaGetErrorString(status), cudaGetErrorName(status),
                                where.function_name(), where.file_name(), where.line()));
}

}  // namespace espalier
