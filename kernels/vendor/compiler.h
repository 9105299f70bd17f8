// Source text compiled at run time for the device at hand: by NVRTC in the cuda build, by the C++ compiler that built
// this library (or c++ of the PATH; ESPALIER_CXX names another) in the cpu build. Neither is linked: where it is
// missing, CompileError says so, and nothing else is lost.
#pragma once
#include <stdexcept>
#include <string>
#include <string_view>

namespace espalier::kernels::vendor {

struct CompileError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

std::string_view compiler_name();  // "NVRTC", "C++ compiler"

// All that an object depends on besides its source: compiler, version, options, machine. Throws CompileError with the
// reason where nothing can be compiled here, or where what is compiled could not be loaded.
std::string compiler_identity();

// The bytes of a cubin or of a shared library. Throws CompileError with what the compiler said first. NVRTC compiles
// for another architecture than the device's where one is named: "sm_80".
std::string compiled_object(const std::string& source, std::string architecture = {});

}  // namespace espalier::kernels::vendor
