// Dense layers in CSR: which arrangement serves which batch, and its product.
#include <algorithm>

#include "core/device/device_info.h"
#include "core/device/stream.h"
#include "kernels/sparse/csr_resident_spmm.h"
#include "kernels/sparse/csr_slab_spmm.h"
#include "kernels/sparse/csr_spmm.h"
#include "kernels/sparse/csr_spmv.h"
#include "kernels/sparse/resident_csr.h"
#include "pruning/sparse_functions.h"

namespace espalier::pruning {
namespace {

// Pieces read W anew for every sample; a tile of slabs has 64 samples, one of a panel 32. A panel that holds all
// columns makes no partial sums and is worth measuring at any batch; others are beyond kFewTiles as much behind slabs
// as those sums cost.
constexpr std::int64_t kFewSamples = 4, kFilledTile = 33, kFewTiles = 512;
constexpr std::int64_t kFilledWideTile = 65, kFilledPair = 9;  // with two samples to a word: of 128, of 16

bool fits_one_panel(const kernels::CsrView& csr) {
  kernels::ResidentCsrView layout;
  layout.chunk = int((csr.columns + 7) / 8 * 8);
  return layout.shared_bytes() <= shared_bytes_per_block();
}

Tensor floats(std::int64_t count) { return Tensor::empty({std::max<std::int64_t>(count, 1)}); }

// visit(T()) where x is read as T.
template <class Visit>
void read_as(Precision of_x, const Visit& visit) {
  if (of_x == Precision::fp16) return visit(kernels::half());
  if (of_x == Precision::bf16) return visit(kernels::bfloat16());
  visit(float());
}

// y of one arrangement of the weight.
struct Multiply {
  const Csr& csr;
  const Tensor& x;
  kernels::BiasActivation epilogue;
  Tensor& y;
  std::int64_t batch() const { return x.shape()[0]; }

  void operator()(std::monostate) const {
    const kernels::CsrView view = csr.view();
    const std::int64_t wanted = kernels::csr_spmm_workspace(batch(), view);
    const Tensor workspace = floats(wanted);
    kernels::csr_spmm(batch(), view, x.data<float>(), epilogue, y.data<float>(), {workspace.data<float>(), wanted},
                      current_stream());
  }
  template <class T>
  void operator()(const PieceCsr<T>& pieces) const {
    kernels::csr_spmv(batch(), pieces.view(), x.data<float>(), epilogue, y.data<float>(), current_stream());
  }
  void operator()(const ResidentCsr& panel) const {
    read_as(panel.of_x(), [&]<class T>(T) { by_panel<T>(panel); });
  }
  template <class T>
  void by_panel(const ResidentCsr& panel) const {
    const Tensor scratch = floats(kernels::csr_resident_scratch(batch(), panel.view()));
    kernels::csr_resident_spmm<T>(batch(), panel.view(), x.data<float>(), epilogue, y.data<float>(),
                                  scratch.data<float>(), current_stream());
  }
  void operator()(const SlabCsr& slabs) const {
    read_as(slabs.of_x(), [&]<class T>(T) { by_slabs<T>(slabs); });
  }
  template <class T>
  void by_slabs(const SlabCsr& slabs) const {
    const std::int64_t wanted = kernels::csr_slab_panels<T>(batch(), csr.view().columns).elements();
    const Tensor panels = Tensor::empty({wanted}, sizeof(T) == sizeof(float) ? DType::f32 : DType::u16);
    kernels::csr_slab_spmm(batch(), slabs.view(), x.data<float>(), epilogue, y.data<float>(),
                           static_cast<T*>(panels.raw()), current_stream());
  }
};

}  // namespace

std::string_view name_of(CsrArrangement arrangement) {
  constexpr std::string_view names[] = {"rows", "pieces",     "fp16 pieces", "bf16 pieces", "panel",
                                        "fp16 panel", "bf16 panel", "slabs",       "fp16 slabs",  "bf16 slabs"};
  return names[std::size_t(arrangement)];
}

std::vector<CsrArrangement> csr_arrangements(const Csr& csr, std::int64_t batch, Precision precision) {
  const bool few = batch <= kFewSamples && PieceCsr<float>::takes(csr);
  std::vector<CsrArrangement> found;
  if constexpr (simt::kEmulated) {  // warps are emulated there, a thread with vectors takes the rows as they are
    found.push_back(CsrArrangement::rows);
  } else {
    if (few) found.push_back(CsrArrangement::pieces);
    if (batch >= kFilledTile && SlabCsr::takes(csr)) found.push_back(CsrArrangement::slabs);
    if (batch > 1 && (batch <= kFewTiles || fits_one_panel(csr.view()))) found.push_back(CsrArrangement::panel);
    if (found.empty()) found.push_back(CsrArrangement::rows);
  }
  if (few && precision == Precision::fp16) found.push_back(CsrArrangement::fp16_pieces);
  if (few && precision == Precision::bf16) found.push_back(CsrArrangement::bf16_pieces);
  const bool wide = batch >= kFilledWideTile && SlabCsr::takes(csr);
  const bool paired = batch >= kFilledPair && (batch <= kFewTiles || fits_one_panel(csr.view()));
  if (wide && precision == Precision::fp16) found.push_back(CsrArrangement::fp16_slabs);
  if (wide && precision == Precision::bf16) found.push_back(CsrArrangement::bf16_slabs);
  if (paired && precision == Precision::fp16) found.push_back(CsrArrangement::fp16_panel);
  if (paired && precision == Precision::bf16) found.push_back(CsrArrangement::bf16_panel);
  return found;
}

bool reads_x_in_16_bits(CsrArrangement arrangement) {
  using enum CsrArrangement;
  return arrangement == fp16_slabs || arrangement == bf16_slabs || arrangement == fp16_panel ||
         arrangement == bf16_panel;
}

std::function<int(const GpuModel&)> launches_on_gpu(const Csr& csr, std::int64_t batch, CsrArrangement arrangement) {
  using enum CsrArrangement;
  if (arrangement == slabs || arrangement == fp16_slabs || arrangement == bf16_slabs) {
    return [](const GpuModel&) { return 2; };
  }
  const bool few = arrangement == rows && batch <= kFewSamples && PieceCsr<float>::takes(csr);
  const int to_word = reads_x_in_16_bits(arrangement) ? 2 : 1;
  return [few, batch, to_word, view = csr.view()](const GpuModel& gpu) {
    const kernels::ResidentDevice device{gpu.multiprocessors, gpu.shared_kibibytes * 1024};
    return few || kernels::resident_csr_layout(view, batch, device, to_word).chunks() == 1 ? 1 : 2;
  };
}

CsrDenseFunction::CsrDenseFunction(Csr csr, std::int64_t expected_batch, CsrArrangement arrangement)
    : weight(std::move(csr)) {
  if (arrangement == CsrArrangement::pieces) arranged = PieceCsr<float>::encode(weight);
  if (arrangement == CsrArrangement::fp16_pieces) arranged = PieceCsr<kernels::half>::encode(weight);
  if (arrangement == CsrArrangement::bf16_pieces) arranged = PieceCsr<kernels::bfloat16>::encode(weight);
  if (arrangement == CsrArrangement::panel) arranged = ResidentCsr::encode(weight, expected_batch);
  if (arrangement == CsrArrangement::fp16_panel) {
    arranged = ResidentCsr::encode(weight, expected_batch, Precision::fp16);
  }
  if (arrangement == CsrArrangement::bf16_panel) {
    arranged = ResidentCsr::encode(weight, expected_batch, Precision::bf16);
  }
  if (arrangement == CsrArrangement::slabs) arranged = SlabCsr::encode(weight, expected_batch);
  if (arrangement == CsrArrangement::fp16_slabs) arranged = SlabCsr::encode(weight, expected_batch, Precision::fp16);
  if (arrangement == CsrArrangement::bf16_slabs) arranged = SlabCsr::encode(weight, expected_batch, Precision::bf16);
}

std::int64_t CsrDenseFunction::bytes() const {
  return std::visit(
      [&]<class Arranged>(const Arranged& form) {
        if constexpr (std::is_same_v<Arranged, std::monostate>)
          return weight.bytes();
        else
          return form.bytes();
      },
      arranged);
}

Tensor CsrDenseFunction::forward(const Tensors& inputs, Context&) const {
  Tensor y = output_of(*this, inputs[0], weight.view().rows, weight.view().columns);
  std::visit(Multiply{weight, inputs[0], epilogue(), y}, arranged);
  return y;
}

}  // namespace espalier::pruning
