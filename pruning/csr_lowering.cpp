// Products in CSR: of a dense layer each arrangement that its batch may profit from, of a convolution the direct one.
#include <fmt/format.h>

#include "kernels/require.h"
#include "pruning/lowering_parts.h"
#include "pruning/sparse_functions.h"

namespace espalier::pruning {
namespace {

const std::string kFormat = "csr";

Implementation csr_implementation(const Csr& csr, const std::string& library,
                                  std::shared_ptr<const Function> function) {
  return {.format = kFormat, .library = library, .function = std::move(function), .weight_bytes = csr.bytes()};
}

std::vector<Implementation> of_convolution(const RecordedCall& call, const Csr& csr, const std::string& ours,
                                           const std::string& vendor) {
  std::vector<Implementation> found;
  try {
    const auto shape = convolution_of(*call.function)->shape_for(call.inputs[0].shape(), call.inputs[1].shape());
    const auto product = std::make_shared<CsrConv2dFunction>(csr, shape, pool_of(call));
    found.push_back(csr_implementation(csr, ours, finished(product, call)));
  } catch (const InvalidArgument& error) {
    found.push_back(refused(kFormat, ours, error.what()));
  }
  found.push_back(refused(kFormat, vendor, "this library has no sparse convolution"));
  return found;
}

// Where only a GPU gains by the arrangement, rows stand in for it, of which a model is told how it reads.
Implementation arranged(const RecordedCall& call, const Csr& csr, const std::string& ours, CsrArrangement arrangement) {
  const std::int64_t batch = call.inputs[0].shape()[0];
  const bool as_it_is = arrangement == CsrArrangement::rows, narrow = reads_x_in_16_bits(arrangement);
  const bool stand_in = narrow && simt::kEmulated;
  const auto product = std::make_shared<CsrDenseFunction>(csr, batch, stand_in ? CsrArrangement::rows : arrangement);
  Implementation one = csr_implementation(csr, as_it_is ? ours : fmt::format("{} {}", ours, name_of(arrangement)),
                                          finished(product, call));
  one.weight_bytes = product->bytes();
  if (as_it_is || narrow) one.launches = launches_on_gpu(csr, batch, arrangement);
  if (narrow) one.x_bytes = 2;
  if (stand_in) one.only_on_gpus = "16 bits of x save reads of a GPU's shared memory, and none here";
  return one;
}

}  // namespace

std::vector<Implementation> csr_implementations(const RecordedCall& call) {
  const Tensor &x = call.inputs[0], &weight = call.inputs[1];
  const std::string ours(to_string(Math::handwritten)), vendor(kernels::vendor::sparse_name());
  const Csr csr = Csr::encode(weight);
  if (convolution_of(*call.function)) return of_convolution(call, csr, ours, vendor);
  const std::int64_t batch = x.shape()[0];
  const Precision precision = dynamic_cast<const ProductFunction&>(*call.function).precision;
  std::vector<Implementation> found;
  for (const CsrArrangement one : csr_arrangements(csr, batch, precision)) {
    found.push_back(arranged(call, csr, ours, one));
  }
  const auto theirs = std::make_shared<VendorDenseFunction<Csr>>(csr, batch);
  found.push_back(csr_implementation(csr, vendor, finished(theirs, call)));
  return found;
}

}  // namespace espalier::pruning
