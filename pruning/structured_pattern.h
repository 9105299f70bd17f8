// Patterns for which there are fast kernels: what falls together is a block of the weight matrix [rows, columns] (the
// trailing axes flattened), scored by the mean of its weights. Blocks at the edges of the matrix may be smaller.
#pragma once
#include "pruning/pattern.h"

namespace espalier::pruning {

// `height` neighbouring rows of one column fall together; as many vectors fall as the budget says, wherever they lie.
// Heights 4, 8, 16 and 32 have kernels (vector_nm()).
Pattern vector(int height);

// In each window of m columns the n best vectors of a group of `height` rows stay, whatever the budget's sparsity: all
// groups are then of one length, and no multiprocessor waits for another. 1 <= n <= m <= 32. (NM-SpMM, 2025, arXiv
// 2503.01253)
Pattern vector_n_of_m(int height, int n, int m);

// Whole blocks of rows x columns fall, as many as the budget says.
Pattern block(int rows, int columns);

// The same in each tap of a convolution, where blocks are filters x channels: what the convolution of tensor cores
// takes (kernels/sparse/block_conv2d.h). A dense layer's channels are its columns.
Pattern block_channels(int filters, int channels);

// V:N:M (Castro et al. 2023, arXiv 2310.02065): in each block of `height` rows x m columns four columns stay, and in
// them n weights of each row. With n = 2 the kept columns obey 2:4, at a sparsity of 1 - 2 / m. 1 <= n <= 4 <= m <= 32.
Pattern v_n_m(int height, int n, int m);

}  // namespace espalier::pruning
