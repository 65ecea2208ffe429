#pragma once

#include "fairlead/kernel_table.hpp"

namespace fairlead {

// The kernels over packed weights, spread over the thread pool. No result depends on the number of threads, nor
// on the batch.

// Rounds x [batch, columns] to int8; what multiply and dot products below take.
void quantize_input(const KernelTable& k, const float* x, std::size_t batch, std::size_t columns,
                    QuantizedInput& input);

// out[b, i] = dot(matrix[rows ? rows[i] : i], vector b of the input) for i < count; rows of out are out_stride
// floats apart.
void multiply_packed(const KernelTable& k, const PackedView& matrix, const std::int32_t* rows, std::size_t count,
                     const QuantizedInput& input, float* out, std::size_t out_stride);

// out[b, r] = dot(matrix[r], vector b of the input).
inline void multiply_packed(const KernelTable& k, const PackedView& matrix, const QuantizedInput& input, float* out) {
    multiply_packed(k, matrix, nullptr, matrix.rows, input, out, matrix.rows);
}

// y = sum_i weight[i] * matrix[rows ? rows[i] : i], in the list's order; with `add` the sum goes on from what is in y,
// with the bits of one longer list.
void sum_packed(const KernelTable& k, const PackedView& matrix, const std::int32_t* rows, const float* weight,
                std::size_t count, float* y, bool add = false);

// out[b] = sum_i weight[b, i] * matrix[rows ? rows[i] : i].
void sum_packed_batch(const KernelTable& k, const PackedView& matrix, const std::int32_t* rows, const float* weight,
                      std::size_t count, std::size_t batch, float* out);

// out [end - begin, columns] = rows [begin, end), exact.
void dequantize_packed(const KernelTable& k, const PackedView& matrix, std::size_t begin, std::size_t end, float* out);

}  // namespace fairlead
