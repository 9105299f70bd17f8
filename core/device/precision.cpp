#include "core/device/precision.h"

#include "core/device/device_info.h"
#include "kernels/gemm_tensor_core.h"
#include "kernels/require.h"

namespace espalier {
namespace {

thread_local Precision scoped_precision = Precision::fp32;

}  // namespace

std::string_view to_string(Precision precision) {
  constexpr std::string_view names[] = {"fp32", "tf32", "bf16", "fp16"};
  return names[int(precision)];
}

Precision current_precision() { return scoped_precision; }

void require_supported(Precision precision) {
  if (precision == Precision::fp32 || kernels::has_tensor_cores_for(precision)) return;
  const DeviceInfo device = device_info();
  const bool fp16 = kernels::has_tensor_cores_for(Precision::fp16);
  require(false, "precision ", std::string(to_string(precision)), ": the products of ", device.name,
          " (compute capability ", device.compute_capability, ") cannot do it; use ", fp16 ? "fp16 or fp32" : "fp32");
}

PrecisionScope::PrecisionScope(Precision precision) : previous_(scoped_precision) {
  require_supported(precision);
  scoped_precision = precision;
}
PrecisionScope::~PrecisionScope() { scoped_precision = previous_; }

}  // namespace espalier
