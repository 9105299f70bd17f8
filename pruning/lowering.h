// From a recorded product to the ways of computing it: Function -> implementations to be measured.
//   implementations_of(step, csr()) -> {csr of ours, csr of the vendor's}, each a Function or the reason why it is none
// A new format adds a candidate here and a Function in sparse_functions.h; a layer that is no product is left alone.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "core/autograd/function.h"
#include "core/device/gpu_model.h"
#include "core/device/math.h"
#include "core/device/precision.h"

namespace espalier::pruning {

using espalier::to_string;  // of Math and Precision, which those of plans and reports would hide

struct DenseCandidate {
  Math math = Math::fastest;  // ours or the vendor's; fastest: both compete
};
struct CsrCandidate {};
struct BlockCsrCandidate {
  std::int64_t rows = 8, columns = 8;
};
struct TwoFourCandidate {};
struct VectorNmCandidate {
  std::int64_t height = 8;  // 4, 8, 16 or 32 rows
};
// V:N:M on sparse tensor cores: groups of `height` rows, a multiple of 64, keep four of each `window` columns.
struct VnmCandidate {
  std::int64_t height = 128, window = 8;
};
// Those that implementations_of() knows nothing of.
struct MadeElsewhere {};
// A convolution as code compiled for its weights alone (compiled_conv2d.h).
struct CompiledConv2dCandidate : MadeElsewhere {};
// All layers in one launch (fused_plan.h): of the network as a whole, no single product has an implementation.
struct FusedNetworkCandidate : MadeElsewhere {};
// The same as code compiled for its weights alone (compiled_plan.h).
struct CompiledNetworkCandidate : MadeElsewhere {};
using Candidate =
    std::variant<DenseCandidate, CsrCandidate, BlockCsrCandidate, TwoFourCandidate, VectorNmCandidate, VnmCandidate,
                 CompiledConv2dCandidate, FusedNetworkCandidate, CompiledNetworkCandidate>;

inline Candidate dense(Math math = Math::fastest) { return DenseCandidate{math}; }
inline Candidate csr() { return CsrCandidate{}; }
inline Candidate block_csr(std::int64_t rows, std::int64_t columns) { return BlockCsrCandidate{rows, columns}; }
inline Candidate two_four() { return TwoFourCandidate{}; }
inline Candidate compiled_conv2d() { return CompiledConv2dCandidate{}; }
inline Candidate fused_network() { return FusedNetworkCandidate{}; }
inline Candidate compiled_network() { return CompiledNetworkCandidate{}; }
inline Candidate vnm(std::int64_t height, std::int64_t window) { return VnmCandidate{height, window}; }
inline Candidate vector_nm(std::int64_t height) { return VectorNmCandidate{height}; }

// A call of a Function as a trace shows it.
struct RecordedCall {
  std::shared_ptr<const Function> function;
  Tensors inputs;      // of a product: x, weight and, if there is one, bias
  Tensor output = {};  // as the trace made it; undefined where nobody knows
};

struct Implementation {
  std::string format;                                  // "dense", "csr", "block csr 8x8", "2:4", "vector 8x1"
  std::string library;                                 // "handwritten", or the vendor's name: "cuBLAS"
  std::shared_ptr<const Function> function = nullptr;  // null: not eligible
  std::string not_eligible = {};                       // why
  bool takes_weight = false;                           // forward gets the recorded inputs; else x alone
  std::int64_t weight_bytes = 0;                       // that the product reads of its weight
  // What a model of a GPU must know of a sparse one (product_work.h).
  std::int64_t stored = 0;                // weights that it multiplies, zeros among them too; 0: none of the zeros
  double rows_sharing = 1;                // rows of the weight that use one read of x
  double x_bytes = 4;                     // of an element of x as it is read for each multiply-add
  Precision precision = Precision::fp32;  // of its operands
  std::function<KernelWork(const GpuModel&)> work = {};  // in place of all that, where it is known better
  std::function<int(const GpuModel&)> launches = {};     // where they are others there than here
  std::string only_on_gpus = {};  // why it is no choice here; `function` stands in for it where a GPU is modelled
};

// Whether the call is a product with a weight that sparse kernels know: Dense or Conv2d, alone or with a max pool.
bool is_product(const Function& function);
bool takes_in_pool(const Function& function);

std::vector<Implementation> implementations_of(const RecordedCall& call, const Candidate& candidate);

// The product with what follows taken in, an activation or a halving max pool; null where that is not possible.
std::shared_ptr<const Function> fused(const Function& product, const Function& following);

}  // namespace espalier::pruning
