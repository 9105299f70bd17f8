#include "kernels/sparse/network_prelude.h"

namespace espalier::kernels {
namespace {

std::string text(index_t value) { return std::to_string(value); }

// The words that the layers are written in.
struct Words {
  const char *task, *place, *here, *restrict_word, *first, *step;
};

std::string define(const char* name, const char* meaning) {
  return std::string("#define ") + name + " " + meaning + "\n";
}

std::string defined(const Words& words) {
  return define("TASK", words.task) + define("PLACE", words.place) + define("HERE", words.here) +
         define("RESTRICT", words.restrict_word) + define("FIRST", words.first) + define("STEP", words.step);
}

// Smooth activations are the caller's: its polynomials are vector code, the C library is a call per number.
constexpr const char* kHostWords = R"(typedef float V __attribute__((vector_size(4 * LANES), may_alias));
typedef void (*Activate)(int which, float slope, float* values, int count);
static inline V C(float value) { return value - V{}; }
static inline void clear(V* map, int count) { for (int i = 0; i < count; ++i) map[i] = V{}; }
static inline V larger(V a, V b) { return ((a != a) | (b <= a)) ? a : b; }
static inline V relu(V x, Activate) { return x <= 0.0f ? V{} : x; }
static inline V leaky_relu(V x, float slope, Activate) { return x <= 0.0f ? slope * x : x; }
static inline V by_caller(int which, V x, Activate activate) {
  activate(which, 0.0f, reinterpret_cast<float*>(&x), LANES);
  return x;
}
)";

constexpr const char* kCudaWords = R"(typedef float V;
extern __shared__ float espalier_shared[];
[[maybe_unused]] static __device__ inline float C(float value) { return value; }
[[maybe_unused]] static __device__ inline void clear(float* map, int count) {
  for (int i = threadIdx.x; i < count; i += blockDim.x) map[i] = 0.0f;
}
)";

constexpr const char* kAdd = "ADD(sum, weight, value)";

// For one number at a time, on a GPU or as the emulation runs it.
constexpr const char* kScalarWords =
    R"([[maybe_unused]] static __device__ inline float larger(float a, float b) { return a != a || b <= a ? a : b; }
[[maybe_unused]] static __device__ inline float relu(float x) { return x <= 0.0f ? 0.0f : x; }
[[maybe_unused]] static __device__ inline float leaky_relu(float x, float slope) { return x <= 0.0f ? slope * x : x; }
[[maybe_unused]] static __device__ inline float gelu(float x) {
  return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
}
[[maybe_unused]] static __device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
[[maybe_unused]] static __device__ inline float hyperbolic(float x) { return tanhf(x); }
)";

// x [image][feature] becomes [feature][image]: a warp reads 32 neighbouring features of each of 32 images.
std::string staging(const NetworkSource& source, const SourceMap& first) {
  std::string place = "f";
  if (first.padding > 0) {
    place = "(f / " + text(first.height * first.width) + " * " + text(first.plane()) + " + f / " + text(first.width) +
            " % " + text(first.height) + " * " + text(first.row()) + " + f % " + text(first.width) + " + " +
            text(first.origin()) + ")";
  }
  const std::string begin = text(first.begin), inputs = text(source.inputs), stride = text(first.stride);
  std::string code;
  if (first.padding > 0) {
    code += std::string("  clear(") + first.arena() + " + " + begin + ", " + text(first.size()) +
            ");\n  __syncthreads();\n";
  }
  code += "  for (int from = warp * 32; from < " + inputs + "; from += 32 * WARPS) {\n";
  code += first.shared ? "" : "    float* turned = espalier_shared + warp * 32 * 33;\n    __syncwarp();\n";
  code += "    const int f = from + lane;\n";
  code += "    if (f < " + inputs + ") {\n#pragma unroll 8\n";
  code += "      for (int i = 0; i < 32; ++i) {\n";
  code += "        const float value = i < count ? images[(long long)i * " + inputs + " + f] : 0.0f;\n";
  code += first.shared ? "        espalier_shared[" + begin + " + " + place + " * " + stride + " + i] = value;\n"
                       : "        turned[lane * 33 + i] = value;\n";
  code += "      }\n    }\n";
  if (!first.shared) {
    code += "    __syncwarp();\n    const int end = " + inputs + " - from < 32 ? " + inputs + " - from : 32;\n";
    code += "#pragma unroll 8\n    for (int k = 0; k < end; ++k) {\n      const int f = from + k;\n";
    code += "      scratch[" + begin + " + " + place + " * " + stride + " + lane] = turned[k * 33 + lane];\n    }\n";
  }
  return code + "  }\n  __syncthreads();\n";
}

}  // namespace

// NVIDIA's compilers make a product with a negative number that is added to a sum a product and a difference, two
// instructions: hence fmaf.
std::string scalar_words() { return define(kAdd, "sum = fmaf(weight, value, sum)") + kScalarWords; }

std::string activation_name(Activation activation) {
  switch (activation) {
    case Activation::none:
      return "";
    case Activation::relu:
      return "relu";
    case Activation::leaky_relu:
      return "leaky_relu";
    case Activation::gelu:
      return "gelu";
    case Activation::sigmoid:
      return "sigmoid";
    case Activation::tanh:
      return "hyperbolic";
  }
  return "";
}

std::string host_prelude(int lanes) {
  std::string prelude = "#define LANES " + std::to_string(lanes) + "\n" + kHostWords +
                        define(kAdd, "sum += weight * value") +
                        defined({.task = "static __attribute__((noinline)) void",
                                 .place = "[[maybe_unused]] V* memory, [[maybe_unused]] Activate activate",
                                 .here = "memory, activate",
                                 .restrict_word = "__restrict__",
                                 .first = "0",
                                 .step = "1"});
  for (const Activation each : {Activation::gelu, Activation::sigmoid, Activation::tanh}) {
    prelude += "static inline V " + activation_name(each) + "(V x, Activate activate) { return by_caller(" +
               std::to_string(int(each)) + ", x, activate); }\n";
  }
  return prelude;
}

std::string host_function(const std::string& calls) {
  return std::string("extern \"C\" void ") + NetworkSource::kName + "(V* memory, Activate activate) {\n" + calls +
         "}\n";
}

// A scratch map is read by other warps than wrote it: no pointer may promise that nobody else writes.
std::string cuda_prelude() {
  return "#define WARPS " + std::to_string(NetworkSource::kWarps) + "\n" + kCudaWords + scalar_words() +
         defined({.task = "static __device__ __noinline__ void",
                  .place = "[[maybe_unused]] int lane, [[maybe_unused]] int warp, [[maybe_unused]] float* scratch",
                  .here = "lane, warp, scratch",
                  .restrict_word = "",
                  .first = "warp",
                  .step = "WARPS"});
}

std::string cuda_kernel(const NetworkSource& source, const SourceMap& first, const SourceMap& last,
                        const std::string& calls) {
  const std::string outputs = text(source.outputs);
  std::string code = std::string("extern \"C\" __global__ void __launch_bounds__(32 * WARPS) ") + NetworkSource::kName;
  code += "(long long batch, const float* __restrict__ x, float* __restrict__ y, float* memory) {\n";
  code += "  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;\n";
  code += "  const long long begin = blockIdx.x * 32LL;\n";
  code += "  const int count = batch - begin < 32 ? int(batch - begin) : 32;\n";
  code += "  float* scratch = memory + blockIdx.x * " + text(source.memory) + "LL;\n";
  code += "  const float* images = x + begin * " + text(source.inputs) + ";\n";
  code += staging(source, first) + calls;
  code += "  for (int i = threadIdx.x; i < count * " + outputs + "; i += 32 * WARPS) {\n";
  code += std::string("    y[begin * ") + outputs + " + i] = " + last.arena() + "[" + text(last.begin) + " + i % " +
          outputs + " * " + text(last.stride) + " + i / " + outputs + "];\n  }\n";
  return code + "}\n";
}

}  // namespace espalier::kernels
