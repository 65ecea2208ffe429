#pragma once

#include <vector>

#include "fairlead/kernel_table.hpp"

namespace fairlead {

// The kernels spread over the thread pool. No result depends on the number of threads.

// out[b, r] = dot(matrix[r], x[b]).
void multiply(const KernelTable& k, const Q8View& matrix, const float* x, std::size_t batch, float* out);

// out[i] = dot(matrix[rows ? rows[i] : i], x) for i < count.
void multiply_selected(const KernelTable& k, const Q8View& matrix, const std::int32_t* rows, std::size_t count,
                       const float* x, float* out);

// out[b, r] = dot(row r of a float32 matrix [rows, columns], x[b]).
void multiply_floats(const KernelTable& k, const float* matrix, std::size_t rows, std::size_t columns, const float* x,
                     std::size_t batch, float* out);

// y = sum_i weight[i] * matrix[rows ? rows[i] : i].
void sum_selected(const KernelTable& k, const Q8View& matrix, const std::int32_t* rows, const float* weight,
                  std::size_t count, float* y);

// out[b] = sum_i weight[b, i] * matrix[i].
void sum_batch(const KernelTable& k, const Q8View& matrix, const float* weight, std::size_t batch, float* out);

void attend(const KernelTable& k, const AttentionTask& task, std::size_t tokens);
void attend(const KernelTable& k, const Int8AttentionTask& task, std::size_t tokens);

// Rounds heads [kv_heads, head_dim] to int8 with one scale a head, as Int8PageView keeps them.
void quantize_heads(const KernelTable& k, const float* x, std::size_t kv_heads, std::size_t head_dim, std::int8_t* q,
                    float* scale);

// Writes q [rows, columns] and float16 scales; throws std::invalid_argument on a value that is not finite or
// whose scale does not fit a float16.
void quantize(const KernelTable& k, const float* x, std::size_t rows, std::size_t columns, std::int8_t* q,
              std::uint16_t* scale);

}  // namespace fairlead
