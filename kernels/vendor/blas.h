// The vendor's dense product behind our signature: cuBLAS in the cuda build, OpenBLAS in the cpu build, chosen when
// linking. Same contract as kernels/gemm.h. Products are in full fp32 (no TF32), so that the two may be compared;
// bias and activation are our own pass over C afterwards.
#pragma once
#include <string>
#include <string_view>

#include "kernels/gemm.h"

namespace espalier::kernels::vendor {

// Pass a workspace where a graph may be captured: cuBLAS would otherwise use memory of its own behind the graph's back.
void gemm(const GemmShape& shape, Transpose transpose_a, Transpose transpose_b, const float* a, const float* b,
          float* c, const GemmEpilogue& epilogue, cudaStream_t stream, Workspace workspace = {});

index_t gemm_workspace_floats(const GemmShape& shape);

std::string_view blas_name();
std::string blas_version();

}  // namespace espalier::kernels::vendor
