// Whether CUDA's compiler takes what was written for it.
#pragma once
#include <doctest/doctest.h>

#include "kernels/vendor/compiler.h"

namespace espalier::test {

// For old and new devices and without a spilled register; in a build or on a machine without NVRTC nothing is checked.
inline void check_nvrtc_compiles(const std::string& text) {
  using namespace kernels::vendor;
  if (compiler_name() != "NVRTC") return;
  for (const char* architecture : {"sm_75", "sm_80", "sm_90"}) {
    CAPTURE(architecture);
    try {
      CHECK(!compiled_object(text, architecture).empty());
    } catch (const CompileError& error) {
      CHECK(std::string(error.what()).find("is not installed") != std::string::npos);
    }
  }
}

}  // namespace espalier::test
