// The cuda build's compiler. NVRTC is opened when it is first wanted and not linked: a program that compiles no network
// starts without it, and one that finds none says so in its plan. It is looked for where the loader looks, then in the
// toolkit that built this library; ESPALIER_NVRTC names another file.
#include <cuda_runtime.h>
#include <dlfcn.h>
#include <nvrtc.h>

#include <cstdlib>
#include <memory>
#include <vector>

#include "kernels/vendor/compiler.h"

namespace espalier::kernels::vendor {
namespace {

using Words = std::vector<std::string>;

const Words kOptions{"--std=c++17", "--fmad=true", "--extra-device-vectorization"};

// The library's functions by name, with the types that its header gives them.
class Nvrtc {
 public:
  Nvrtc() : library_(open()) {}

  template <class Function>
  Function* function(const char* name) const {
    void* const found = dlsym(library_.get(), name);
    if (!found) throw CompileError(std::string("this NVRTC has no ") + name);
    return reinterpret_cast<Function*>(found);
  }
  void check(nvrtcResult status, const char* what) const {
    if (status == NVRTC_SUCCESS) return;
    throw CompileError(std::string("NVRTC: ") + what + ": " +
                       function<decltype(nvrtcGetErrorString)>("nvrtcGetErrorString")(status));
  }

 private:
  struct Close {
    void operator()(void* library) const { dlclose(library); }
  };
  using Handle = std::unique_ptr<void, Close>;

  static Handle open() {
    const std::string name = "libnvrtc.so." + std::to_string(CUDART_VERSION / 1000);
    const char* const named = std::getenv("ESPALIER_NVRTC");
    const Words places = named && *named ? Words{named} : Words{name, ESPALIER_NVRTC_FOLDER "/" + name};
    std::string tried;
    for (const std::string& place : places) {
      if (void* const library = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL)) return Handle(library);
      tried += (tried.empty() ? "" : ", ") + place;
    }
    throw CompileError("NVRTC is not installed here (tried " + tried + "); it comes with the CUDA toolkit");
  }

  Handle library_;
};

struct Program {
  const Nvrtc& nvrtc;
  nvrtcProgram program = nullptr;

  Program(const Nvrtc& nvrtc, const std::string& source) : nvrtc(nvrtc) {
    const auto create = nvrtc.function<decltype(nvrtcCreateProgram)>("nvrtcCreateProgram");
    nvrtc.check(create(&program, source.c_str(), "network.cu", 0, nullptr, nullptr), "no program");
  }
  ~Program() { nvrtc.function<decltype(nvrtcDestroyProgram)>("nvrtcDestroyProgram")(&program); }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  template <class Size, class Get>
  std::string text(const char* size_name, const char* get_name) const {
    std::size_t size = 0;
    nvrtc.check(nvrtc.function<Size>(size_name)(program, &size), size_name);
    std::string bytes(size, '\0');
    nvrtc.check(nvrtc.function<Get>(get_name)(program, bytes.data()), get_name);
    return bytes;
  }
  std::string log() const {
    return text<decltype(nvrtcGetProgramLogSize), decltype(nvrtcGetProgramLog)>("nvrtcGetProgramLogSize",
                                                                                "nvrtcGetProgramLog");
  }
  std::string cubin() const {
    return text<decltype(nvrtcGetCUBINSize), decltype(nvrtcGetCUBIN)>("nvrtcGetCUBINSize", "nvrtcGetCUBIN");
  }
};

std::string architecture_here() {
  int device = 0, major = 0, minor = 0;
  const bool answers = cudaGetDevice(&device) == cudaSuccess &&
                       cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
                       cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) == cudaSuccess;
  if (!answers) throw CompileError("no device answers");
  return "sm_" + std::to_string(10 * major + minor);
}

// Of nothing but a header: what a runtime without the loading of libraries says to it.
void require_loading() {
  constexpr const char* kNothing = ".version 6.3\n.target sm_70\n.address_size 64\n";
  cudaLibrary_t library = nullptr;
  const cudaError_t status = cudaLibraryLoadData(&library, kNothing, nullptr, nullptr, 0, nullptr, nullptr, 0);
  if (status == cudaSuccess) {
    cudaLibraryUnload(library);
  } else {
    cudaGetLastError();  // it is told here
    throw CompileError(std::string("this device's runtime loads no compiled code: ") + cudaGetErrorString(status));
  }
}

}  // namespace

std::string_view compiler_name() { return "NVRTC"; }

std::string compiler_identity() {
  require_loading();
  const Nvrtc nvrtc;
  int major = 0, minor = 0;
  nvrtc.check(nvrtc.function<decltype(nvrtcVersion)>("nvrtcVersion")(&major, &minor), "no version");
  std::string identity = "NVRTC " + std::to_string(major) + "." + std::to_string(minor) + "\n" + architecture_here();
  for (const std::string& option : kOptions) identity += " " + option;
  return identity;
}

std::string compiled_object(const std::string& source, std::string architecture) {
  const Nvrtc nvrtc;
  const Program program(nvrtc, source);
  Words words = kOptions;
  words.push_back("--gpu-architecture=" + (architecture.empty() ? architecture_here() : architecture));
  words.push_back("--ptxas-options=--warn-on-spills");
  std::vector<const char*> options;
  for (const std::string& word : words) options.push_back(word.c_str());
  const auto compile = nvrtc.function<decltype(nvrtcCompileProgram)>("nvrtcCompileProgram");
  const nvrtcResult status = compile(program.program, int(options.size()), options.data());
  const std::string log = program.log();
  nvrtc.check(status, log.substr(0, log.find('\n')).c_str());  // the log may be empty
  if (log.find("spill") != std::string::npos) throw CompileError("NVRTC: " + log.substr(0, 200));
  return program.cubin();
}

}  // namespace espalier::kernels::vendor
